"""`iam apply|diff|get|delete|rotate-key`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Shape, Yes, flag
from hilbert.cli.gateway.target import connect
from hilbert.cli.terminal.confirm import confirm
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import columns, harmless, note, out, warn
from hilbert.wire.access import AccessObject

_MOST: Final = 4 * 1024 * 1024
_KINDS: Final = {
    **dict.fromkeys(("jwtissuer", "jwtissuers", "issuer", "issuers"), "JwtIssuer"),
    **dict.fromkeys(("policy", "policies"), "Policy"),
    **dict.fromkeys(("role", "roles"), "Role"),
}

File = Annotated[str, flag("YAML with the objects; - is standard input.", "--file", "-f")]


def apply(*, file: File = "", at: Connection = HERE, shape: Shape = PLAIN) -> None:
    documents = _documents(file)
    with connect(at) as client:
        changes = client.apply_access(documents)
    if shape.format != "table":
        write_document(changes, shape.format)
        return
    for one in changes:
        out(harmless(f"{one.kind} {one.name} {one.change}"))
        if one.warning:
            warn(harmless(f"{one.kind} {one.name}: {one.warning}"))


def diff(*, file: File = "", at: Connection = HERE, shape: Shape = PLAIN) -> int:
    documents = _documents(file)
    with connect(at) as client:
        changes = [one for one in client.apply_access(documents, dry_run=True) if one.change != "unchanged"]
        there = {(one.kind, one.metadata.get("name")): one for one in client.list_access()}
    if shape.format != "table":
        write_document(changes, shape.format)
        return 1 if changes else 0
    wanted = {(one["kind"], one["metadata"]["name"]): one for one in documents}
    for change in changes:
        old, new = there.get((change.kind, change.name)), wanted[change.kind, change.name]
        out(harmless(f"{change.kind} {change.name} would be {change.change}:"))
        for line in _difference(dict(old.spec) if old else {}, new["spec"]):
            out(harmless(f"  {line}"))
    return 1 if changes else 0


def get(
    kind: Annotated[str, flag("issuer, policy or role.")] = "",
    name: Annotated[str, flag("Name of one of them.")] = "",
    /,
    *,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    wanted = _kind(kind) if kind else ""
    with connect(at) as client:
        found = [one for one in client.list_access() if not wanted or one.kind == wanted]
    if name:
        found = [one for one in found if one.metadata.get("name") == name]
        if not found:
            raise Failed(f"{wanted} {name} not found", hint="see 'hilbert iam get'")
        write_document(found[0], shape.format if shape.format != "table" else "yaml")
        return
    if shape.format != "table":
        write_document(found, shape.format)
        return
    rows = [("KIND", "NAME", "WHAT"), *((one.kind, str(one.metadata.get("name")), _gist(one)) for one in found)]
    for line in columns(rows):
        out(harmless(line))


def delete(
    kind: Annotated[str, flag("issuer, policy or role.")],
    name: Annotated[str, flag("Its name.")],
    /,
    *,
    yes: Yes = False,
    at: Connection = HERE,
) -> None:
    found = _kind(kind)
    confirm(f"Delete {found} {harmless(name)}? The rights it gives end at once.", yes=yes)
    with connect(at) as client:
        client.delete_access(found, name)
    out(harmless(f"{found} {name} deleted"))


def rotate_key(
    *,
    revoke: Annotated[
        bool, flag("Remove all other keys at once: every token of single sign-on becomes invalid.", "--revoke")
    ] = False,
    yes: Yes = False,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    if revoke:
        confirm("Make every token of single sign-on invalid?", yes=yes)
    with connect(at) as client:
        made = client.rotate_key(revoke=revoke)
    if shape.format != "table":
        write_document(made, shape.format)
        return
    note(f"The new key signs from {made.signs_from}.")
    if made.restarted:
        note(f"Restarted, since they check tokens themselves: {', '.join(made.restarted)}")
    if made.not_restarted:
        note(f"Restart these before the key signs, or they refuse everybody: {', '.join(made.not_restarted)}")
    out(made.kid)


def _documents(file: str) -> list[Mapping[str, Any]]:
    """The objects in a file of YAML. Raises `Failed`."""
    import yaml

    if not file:
        raise UsageError("which file? Give it with -f", hint="hilbert iam apply -f access.yaml")
    try:
        text = sys.stdin.read(_MOST + 1) if file == "-" else Path(file).read_text(encoding="utf-8")
        found = [one for one in yaml.safe_load_all(text) if one is not None]
    except OSError as exc:
        raise Failed(f"cannot read {file}: {exc.strerror}") from exc
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as exc:
        raise Failed(f"{file} is not valid YAML: {str(exc)[:300]}") from exc
    if len(text) > _MOST:
        raise Failed(f"{file} is larger than {_MOST} characters")
    for number, one in enumerate(found, 1):
        metadata = one.get("metadata") if isinstance(one, dict) else None
        if not isinstance(metadata, dict) or not isinstance(one.get("spec"), dict) or "name" not in metadata:
            raise Failed(f"{file}: document {number} is not an object with kind, metadata.name and spec")
    if not found:
        raise Failed(f"{file} has no objects")
    return found


def _kind(text: str) -> str:
    if text.lower() not in _KINDS:
        raise UsageError(f"unknown kind: {text}", hint="one of issuer, policy, role")
    return _KINDS[text.lower()]


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    import difflib

    import yaml

    before, after = (yaml.safe_dump(dict(one)).splitlines() if one else [] for one in (old, new))
    lines = difflib.unified_diff(before, after, n=2, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def _gist(one: AccessObject) -> str:
    """What an object is about, in a line."""
    spec = one.spec
    if one.kind == "JwtIssuer":
        return f"{spec.get('iss')} for {spec.get('tokenExpiry')}"
    if one.kind == "Policy":
        statements = [
            f"{','.join(part['action'])} on {','.join(part['resource'])}" for part in spec.get("statement", ())
        ]
        return "; ".join(statements)
    return f"policies {','.join(spec.get('policy', ()))}"
