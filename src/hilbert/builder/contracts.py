"""Whether a Python handler can be called as its template calls it: read from its source, which is not run."""

from __future__ import annotations

import ast


def wrong_handle(source: bytes, *, takes: int) -> str:
    """Why `handle` cannot be called with `takes` arguments; empty when it can, or when the source does not tell.

    The source has been compiled before.
    """
    found = [node for node in ast.parse(source).body if getattr(node, "name", "") == "handle"]
    if not found or not isinstance(found[-1], ast.FunctionDef | ast.AsyncFunctionDef) or found[-1].decorator_list:
        return ""
    given = found[-1].args
    names = [one.arg for one in (*given.posonlyargs, *given.args)]
    least = len(names) - len(given.defaults)
    if least <= takes and (takes <= len(names) or given.vararg is not None):
        return ""
    count = len(names) if len(names) < takes else least
    return f"handle({', '.join(names)}) takes {count} argument{'' if count == 1 else 's'}"
