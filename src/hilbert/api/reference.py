"""The tables of docs/reference/api.md, made of the declarations of the endpoints. The text around them is written by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from hilbert.api.endpoint import Access, Endpoint
from hilbert.api.openapi import answer_name, refusals
from hilbert.core.identity import Action

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
