"""The part of Helm's template language that the chart uses: values, `if`/`else`, `range`, and three functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_TAG = re.compile(r"(\s*)\{\{(-?)\s*(.*?)\s*(-?)\}\}(\s*)", re.DOTALL)


def render(text: str, values: dict[str, Any], *, namespace: str) -> str:
    """Render one template. Raises `ValueError` for anything that is not known here."""
    top = {"Values": values, "Release": {"Namespace": namespace}}
    out, rest = _block(_pieces(text), top, top, run=True)
    if rest:
        raise ValueError(f"{rest} without a beginning")
    return out


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    for match in _TAG.finditer(text):
        before, trim_left, expression, trim_right, after = match.groups()
        yield "text", text[position : match.start()] + ("" if trim_left else before)
        yield "tag", expression
        yield "text", "" if trim_right else after
        position = match.end()
    yield "text", text[position:]


def _block(pieces: Iterator[tuple[str, str]], top: Any, dot: Any, *, run: bool) -> tuple[str, str]:
    """Render until `else` or `end`, which is returned with what came out."""
    out = ""
    for kind, piece in pieces:
        if kind == "text":
            out += piece if run else ""
        elif piece in ("else", "end"):
            return out, piece
        elif piece.startswith("if "):
            holds = run and bool(_value(piece[3:], top, dot))
            first, ended = _block(pieces, top, dot, run=holds)
            second = _block(pieces, top, dot, run=run and not holds)[0] if ended == "else" else ""
            out += first + second
        elif piece.startswith("range "):
            inner = list(_until_end(pieces))
            for item in _value(piece[6:], top, dot) if run else ():
                out += _block(iter([*inner, ("tag", "end")]), top, item, run=True)[0]
        elif piece.startswith("$"):
            if run and ":=" in piece:
                raise ValueError(f"variables are not known here: {piece}")
            out += str(_value(piece, top, dot)) if run else ""
        elif run:
            out += str(_value(piece, top, dot))
    return out, ""


def _until_end(pieces: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    depth = 1
    for kind, piece in pieces:
        if kind == "tag":
            depth += piece.startswith(("if ", "range ")) - (piece == "end")
            if depth == 0:
                return
        yield kind, piece


def _value(expression: str, top: Any, dot: Any) -> Any:
    first, *filters = (part.strip() for part in expression.split("|"))
    words = re.findall(r'"[^"]*"|\S+', first)
    if words[0] == "first":
        value: Any = _term(words[1], top, dot)[0]
    elif words[0] == "join":
        value = words[1].strip('"').join(_term(words[2], top, dot))
    elif len(words) == 1:
        value = _term(words[0], top, dot)
    else:
        raise ValueError(f"unknown expression: {expression}")
    for name in filters:
        if name != "quote":
            raise ValueError(f"unknown function: {name}")
        value = json.dumps(str(value))
    return value


def _term(word: str, top: Any, dot: Any) -> Any:
    if word == ".":
        return dot
    value = top if word.startswith("$.") else dot
    for key in word.removeprefix("$").strip(".").split("."):
        value = value[key]
    return value
