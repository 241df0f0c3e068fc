"""`token`, `whoami` and `can-i`."""

from __future__ import annotations

from typing import Annotated, Literal

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Shape, Yes, flag
from hilbert.cli.gateway.target import connect
from hilbert.cli.terminal.confirm import confirm
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import columns, harmless, note, out
from hilbert.client.sync import Client
from hilbert.wire.token import TokenInfo

Role = Literal["invoker", "viewer", "deployer", "developer", "owner"]


def create(
    name: str,
    /,
    *,
    namespace: Annotated[tuple[str, ...], flag("Namespace it is for; repeatable.", "--namespace", "-n")] = (),
    role: Annotated[Role, flag("What it may do there.", "--role")] = "viewer",
    expires: Annotated[str, flag("When it ends, like 90d or 12h; by default, never.", "--expires")] = "",
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    if not namespace:
        raise UsageError("a token needs at least one --namespace")
    with connect(at) as client:
        made = client.create_token(name, role, namespace, expires_in=expires)
    if shape.format != "table":
        write_document(made, shape.format)
        return
    ends = f"until {made.info.expires_at}" if made.info.expires_at else "without an end"
    note(f"Token {name} ({made.info.id}): {role} in {', '.join(namespace)}, {ends}. It is not shown again.")
    out(made.token)


def list_tokens(*, at: Connection = HERE, shape: Shape = PLAIN) -> None:
    with connect(at) as client:
        found = client.list_tokens()
    if shape.format != "table":
        write_document(found, shape.format)
        return
    rows = [("NAME", "ID", "ROLE", "NAMESPACES", "CREATED", "LAST USED", "EXPIRES")]
    rows += [
        (
            token.name,
            token.id,
            token.role,
            ",".join(token.namespaces),
            token.created_at[:10],
            token.last_used[:10] or "never",
            token.expires_at[:10] or "never",
        )
        for token in found
    ]
    for line in columns(rows):
        out(harmless(line))


def revoke(name: str, /, *, yes: Yes = False, at: Connection = HERE) -> None:
    with connect(at) as client:
        token = _find(client, name)
        confirm(
            f"Revoke the token {harmless(token.name)} ({token.id})? Anyone who uses it will be locked out.", yes=yes
        )
        client.revoke_token(token.id)
    out(harmless(f"Token revoked: {token.name} ({token.id})"))


def whoami(*, at: Connection = HERE, shape: Shape = PLAIN) -> None:
    with connect(at) as client:
        found = client.whoami()
    if shape.format != "table":
        write_document(found, shape.format)
        return
    name = found.claims.get("name")
    out(harmless(f"{name} ({found.identity})" if name else found.identity))
    for resource, actions in sorted(found.rights.items()):
        out(harmless(f"  {resource}: {', '.join(actions)}"))


def can_i(
    action: Annotated[str, flag("Such as Function:Create.")],
    resource: Annotated[str, flag("NAMESPACE, NAMESPACE:FUNCTION, or * for the whole gateway.")] = "*",
    /,
    *,
    at: Connection = HERE,
) -> int:
    where = resource if resource == "*" or ":" in resource else f"{resource}:*"
    with connect(at) as client:
        allowed = client.can_i(action, where)
    out("yes" if allowed else "no")
    return 0 if allowed else 1


def _find(client: Client, name: str) -> TokenInfo:
    """The one token of that name or id. Raises `Failed` for none, and for several."""
    found = [token for token in client.list_tokens() if name in (token.name, token.id)]
    if not found:
        raise Failed(f"no token is named {name}", hint="see 'hilbert token list'")
    if len(found) > 1:
        raise Failed(f"{len(found)} tokens are named {name}", hint="revoke one by its id: see 'hilbert token list'")
    return found[0]
