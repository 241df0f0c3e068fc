"""Adding a function to a stack file that somebody wrote, leaving every other line as it is."""

from __future__ import annotations

import textwrap

import msgspec

from hilbert.core.errors import InvalidStack
from hilbert.stack.file import Document, Provider, StackFunction, dump_stack, parse_stack
from hilbert.stack.yamltext import Map, Scalar, parse, write_yaml


def new_stack(name: str, function: StackFunction, *, gateway: str) -> str:
    """A stack file with one function."""
    return dump_stack(
        Document(version="1.0", provider=Provider(name="openfaas", gateway=gateway), functions={name: function})
    )


def append_function(text: str, name: str, function: StackFunction, *, source: str) -> str:
    """`text` with one more function. Raises `InvalidStack`, also when the name is taken."""
    before = parse_stack(text, name=source)
    if name in before.functions:
        raise InvalidStack(f"{source} has a function {name} already", hint="choose another name")
    node = parse(text, name=source)
    lines = text.splitlines()
    top = node if isinstance(node, Map) else Map(1, {}, {}, 1)
    block = top.items.get("functions")
    indent = 2
    if block is None:
        lines = [*_without_blank_end(lines), "functions:"]
        at = len(lines)
    else:
        begin = top.lines["functions"]
        if isinstance(block, Map) and block.items and not block.flow:
            first = lines[min(block.lines.values()) - 1]
            indent = len(first) - len(first.lstrip(" "))
        elif isinstance(block, Scalar) or (isinstance(block, Map) and not block.items):
            lines[begin - 1] = "functions:"
        else:
            raise _unclear(source)
        following = [line for line in top.lines.values() if line > begin]
        at = min(following) - 1 if following else len(lines)
        while at > begin and (not lines[at - 1].strip() or lines[at - 1].startswith("#")):
            at -= 1
    entry = write_yaml({name: msgspec.to_builtins(function)})
    lines[at:at] = textwrap.indent(entry, " " * indent).splitlines()
    written = "\n".join(lines) + "\n"
    try:
        after = parse_stack(written, name=source)
    except InvalidStack as exc:
        raise _unclear(source) from exc
    if after.functions != {**before.functions, name: function} or after.configuration != before.configuration:
        raise _unclear(source)
    return written


def _without_blank_end(lines: list[str]) -> list[str]:
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    return lines[:end]


def _unclear(source: str) -> InvalidStack:
    return InvalidStack(
        f"{source}: no function can be added, since its functions are not written one below the other",
        hint="write each function's name on a line of its own, below 'functions:'",
    )
