"""Reference pages made of the declarations of the endpoints: the tables of api.md, between text written by hand, and rights.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from hilbert.api.endpoint import Access, Endpoint
from hilbert.api.openapi import answer_name, refusals
from hilbert.core.identity import Action
from hilbert.iam.roles import ACTIONS, Role

_BLOCK: Final = re.compile(r"<!-- endpoints: (.+) -->\n(?:.*\n)*?<!-- end -->\n")


def fill_page(page: str, endpoints: Iterable[Endpoint]) -> str:
    """The page with every block between `<!-- endpoints: GROUP -->` and `<!-- end -->` written anew.

    Raises `RuntimeError` when the page has no block for a group.
    """
    groups: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        if endpoint.documented:
            groups.setdefault(endpoint.group, []).append(endpoint)

    def table(match: re.Match[str]) -> str:
        lines = [_line(endpoint) for endpoint in groups.pop(match[1], [])]
        head = "| request | what it does | right | body | success | refusals |\n|---|---|---|---|---|---|\n"
        return f"<!-- endpoints: {match[1]} -->\n{head}{''.join(lines)}<!-- end -->\n"

    filled = _BLOCK.sub(table, page)
    if groups:
        raise RuntimeError(f"the page has no block for {', '.join(groups)}")
    return filled


def rights_page(endpoints: Sequence[Endpoint]) -> str:
    """docs/reference/rights.md: which role may use which endpoint, in its own namespaces."""
    columns = list(Role)
    lines = [
        "# Rights",
        "",
        "Generated from the endpoints and roles by `make docs`.",
        "",
        "What each role of a [token](api.md#tokens-and-rights) may do in its own namespaces. The gateway's password may do everything.",
        "",
        "- In any other namespace, the default one included, a token finds nothing: the answer is that of a namespace that does not exist.",
        "- A request that names no namespace means the default one. One that names two that differ is 400.",
        "- What a role may not do in its own namespace is 403, and the answer names the right.",
        "- Lists of namespaces and tokens hold only what the role may list.",
        "- `System:Govern` is asked for in addition where a request would set, change or remove what bounds a tenant: see [namespaces](../concepts/namespaces.md#settings-of-a-namespace).",
        "",
        f"| request | right | {' | '.join(columns)} |",
        f"|---|---|{'---|' * len(columns)}",
    ]
    for endpoint in endpoints:
        if endpoint.documented and endpoint.access is not Access.PUBLIC:
            cells = ["yes" if role_may(role, endpoint) else "" for role in columns]
            lines.append(f"| `{endpoint.method} {endpoint.path}` | {_right(endpoint)} | {' | '.join(cells)} |")
    lines += ["", "## Roles", "", "| role | actions |", "|---|---|"]
    for role in columns:
        lines.append(f"| `{role}` | {', '.join(f'`{action}`' for action in ACTIONS[role])} |")
    lines += ["", "## Actions", "", "What a [policy](../concepts/identity.md) can allow:", ""]
    asked = {endpoint.access for endpoint in endpoints if endpoint.documented}
    for action in Action:
        requests = [f"`{one.method} {one.path}`" for one in endpoints if one.documented and one.access is action]
        lines.append(f"- `{action}`: " + (", ".join(requests) if action in asked else _ELSEWHERE[action]))
    lines += ["", "`Function:*` is all actions of a kind, `*` every action."]
    return "\n".join(lines) + "\n"


_ELSEWHERE: Final = {
    Action.FUNCTION_PAYLOAD: "read bodies of queued calls and their answers, with the requests that show them",
    Action.FUNCTION_INVOKE: "call a function that asks its callers who they are",
    Action.SYSTEM_GOVERN: "set, change or remove what bounds a tenant, with the requests that do so",
}


def role_may(role: Role, endpoint: Endpoint) -> bool:
    """Whether a role may use an endpoint for something in its own namespace."""
    if not isinstance(endpoint.access, Action):
        return True
    return endpoint.access in ACTIONS[role]


def _line(endpoint: Endpoint) -> str:
    query = ", ".join(f"`{parameter.name}`" for parameter in endpoint.query)
    cells = [
        f"`{endpoint.method} {endpoint.path}`" + (f"<br>{query}" if query else ""),
        endpoint.summary,
        _right(endpoint),
        _body(endpoint),
        f"{endpoint.success}" + (f", {answer_name(endpoint.answer)}" if endpoint.answer is not None else ""),
        ", ".join(map(str, refusals(endpoint))),
    ]
    return f"| {' | '.join(cells)} |\n"


def _right(endpoint: Endpoint) -> str:
    if isinstance(endpoint.access, Action):
        return f"`{endpoint.access.value}`"
    return "public" if endpoint.access is Access.PUBLIC else "any"


def _body(endpoint: Endpoint) -> str:
    if endpoint.body is None:
        return ""
    return answer_name(endpoint.body.kind) + (", may be empty" if endpoint.body.empty is None else "")
