"""`secret`: a namespace's secrets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Namespace, Shape, flag
from hilbert.cli.function.name import full_name
from hilbert.cli.gateway.target import connect
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import harmless, note, out, warn
from hilbert.client.sync import Client
from hilbert.core.errors import AlreadyExists, HilbertError, SecretNotFound

_FOLDER: Final = ".secrets"
_MOST: Final = 1024 * 1024
_MOST_NAMED: Final = 10
_PHRASES: Final = {200: "200 OK", 202: "202 Accepted"}

FromLiteral = Annotated[str, flag("The value; other users can see it, so prefer standard input.", "--from-literal")]
FromFile = Annotated[str, flag("File with the value, used byte for byte.", "--from-file")]
Trim = Annotated[
    bool | None,
    flag("Trim white space around the value; on by default except for --from-file.", "--trim", negative=True),
]


def create(
    name: str,
    /,
    *,
    from_literal: FromLiteral = "",
    from_file: FromFile = "",
    trim: Trim = None,
    replace: Annotated[bool, flag("Replace the value if the secret already exists.", "--replace")] = False,
    namespace: Namespace = "",
    at: Connection = HERE,
) -> None:
    value = _value(from_literal, from_file, trim)
    note(f"Creating secret: {full_name(name, namespace)}")
    with connect(at) as client:
        try:
            status = client.create_secret(name, value, namespace)
        except AlreadyExists as exc:
            if not replace:
                raise Failed(
                    f'secret with the name "{name}" already exists', hint="use --replace to replace its value"
                ) from exc
            note(f"Secret {name} already exists, updating...")
            out(f"Updated: {_phrase(client.update_secret(name, value, namespace))}")
            _say_who_has_it(client, name, namespace)
        else:
            out(f"Created: {_phrase(status)}")


def update(
    name: str,
    /,
    *,
    from_literal: FromLiteral = "",
    from_file: FromFile = "",
    trim: Trim = None,
    namespace: Namespace = "",
    at: Connection = HERE,
) -> None:
    value = _value(from_literal, from_file, trim)
    note(f"Updating secret: {name}")
    with connect(at) as client:
        try:
            status = client.update_secret(name, value, namespace)
        except SecretNotFound as exc:
            raise Failed(f"unable to find secret: {name}") from exc
        out(f"Updated: {_phrase(status)}")
        _say_who_has_it(client, name, namespace)


def list_secrets(*, namespace: Namespace = "", at: Connection = HERE, shape: Shape = PLAIN) -> None:
    with connect(at) as client:
        found = client.list_secrets(namespace)
    if shape.format != "table":
        write_document(found, shape.format)
    elif not found:
        note("No secrets found.")
    else:
        out(harmless("\n".join(["", "NAME", *sorted(secret.name for secret in found), ""])))


def remove(name: str, /, *, namespace: Namespace = "", at: Connection = HERE) -> None:
    with connect(at) as client:
        try:
            client.delete_secret(name, namespace)
        except SecretNotFound as exc:
            raise Failed(f"unable to find secret: {name}") from exc
    out("Removed.. OK.")


def apply(
    *,
    trim: Trim = None,
    folder: Annotated[str, flag("Folder with one file per secret.", "--folder")] = _FOLDER,
    namespace: Namespace = "",
    at: Connection = HERE,
) -> None:
    try:
        files = sorted(path for path in Path(folder).iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as exc:
        raise Failed(f"cannot read the folder {folder}: {exc.strerror}") from exc
    if not files:
        raise Failed(
            f"the folder {folder} has no files", hint="each file becomes a secret with the file's name and content"
        )
    values = {path.name: _read(path, trim=bool(trim)) for path in files}
    with connect(at) as client:
        for name, value in values.items():
            out(f"{'Created' if _put(client, name, value, namespace) else 'Updated'}: {full_name(name, namespace)}")


def generate(
    *,
    length: Annotated[int, flag("Number of random bytes.", "--length")] = 32,
    output: Annotated[str, flag("File to write to instead of standard output.", "--output", "-o")] = "",
) -> None:
    if not 1 <= length <= 65536:
        raise UsageError(f"--length {length}: must be from 1 to 65536")
    import base64
    import secrets

    value = base64.b64encode(secrets.token_bytes(length)).decode()
    if not output:
        out(value)
        return
    write_private(Path(output), value.encode())
    note(f"Wrote {output}")


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that only this user can read. Raises `Failed` when it is there."""
    import os

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except FileExistsError as exc:
        raise Failed(f"{path} already exists", hint="remove it, or choose another file") from exc
    except OSError as exc:
        raise Failed(f"cannot write {path}: {exc.strerror}") from exc


def _put(client: Client, name: str, value: bytes, namespace: str) -> bool:
    """Create or update; returns whether it was created."""
    try:
        client.create_secret(name, value, namespace)
    except AlreadyExists:
        client.update_secret(name, value, namespace)
        return False
    return True


def _say_who_has_it(client: Client, name: str, namespace: str) -> None:
    """Name the functions that may go on with the value of before: those that read it only when they start."""
    try:
        users = sorted(one.name for one in client.list_functions(namespace) if name in one.secrets and one.replicas)
    except HilbertError:
        return
    if not users:
        return
    shown = users if len(users) <= _MOST_NAMED else [*users[:_MOST_NAMED], f"{len(users) - _MOST_NAMED} more"]
    warn(
        f"{', '.join(shown)}: the file has the new value within seconds. A function that reads it only when it starts "
        f"needs a restart: hilbert restart {full_name(users[0], namespace)}"
    )


def _value(literal: str, file: str, trim: bool | None) -> bytes:
    if literal and file:
        raise UsageError("use either --from-literal or --from-file, not both")
    if literal:
        note("A value in a flag shows up in the process list and in the shell's history.")
        value = literal.encode()
    elif file:
        value = _read(Path(file), trim=bool(trim))
    else:
        if sys.stdin.isatty():
            sys.stderr.write("Reading from STDIN - hit (Control + D) to stop.\n")
        value = sys.stdin.buffer.read(_MOST + 1)
    if not file and trim is not False:
        value = value.strip()
    if not value:
        raise UsageError("the secret's value is empty", hint="give it on standard input or with --from-file")
    if len(value) > _MOST:
        raise UsageError(f"the secret's value is longer than {_MOST} bytes")
    return value


def _read(path: Path, *, trim: bool) -> bytes:
    try:
        with path.open("rb") as file:
            value = file.read(_MOST + 1)
    except OSError as exc:
        raise Failed(f"cannot read {path}: {exc.strerror}") from exc
    return value.strip() if trim else value


def _phrase(status: int) -> str:
    return _PHRASES.get(status, str(status))
