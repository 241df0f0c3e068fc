"""YAML read as Go's typed decoding reads it: every scalar stays the text that was written, and its target types it.

`NO`, `1.10`, `0123` and `10:30` in an environment are text; where a yes or no is wanted, `yes`, `on` and `true` are
yes. Every node knows its line, so that an error can say where. Strangers write these files: size, depth and the
expansion of aliases are bounded, and duplicate keys are refused.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml

from hilbert.core.errors import InvalidStack

T = TypeVar("T")

_DEEPEST: Final = 32
_MOST_NODES: Final = 50_000
_TEXT_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp")
)
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_YES: Final = frozenset({"y", "yes", "true", "on"})
_NO: Final = frozenset({"n", "no", "false", "off"})


class Scalar(msgspec.Struct, frozen=True):
    """A text, or null."""

    line: int
    text: str
    null: bool = False
    size: int = 1


class List(msgspec.Struct, frozen=True):
    """A sequence."""

    line: int
    items: tuple[Node, ...]
    size: int


class Map(msgspec.Struct, frozen=True):
    """A mapping, in the order written; `lines` are those of the keys."""

    line: int
    items: dict[str, Node]
    lines: dict[str, int]
    size: int
    flow: bool = False
    """Written in braces."""


Node = Scalar | List | Map


def parse(text: str, *, name: str) -> Node:
    """The one document in `text`; null when there is none. Raises `InvalidStack`, naming the file `name`."""
    events = yaml.parse(text, Loader=yaml.CBaseLoader)
    try:
        return _Composer(name).document(events)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(exc, "problem", None) or getattr(exc, "reason", None) or str(exc).partition("\n")[0]
        if "nesting depth" in problem:  # The parser's own limit, in versions that have one, may come first.
            raise InvalidStack(f"{name}{line}: nested more than {_DEEPEST} deep") from exc
        written = text.split("\n")[mark.line : mark.line + 1] if mark is not None else []
        hint = (
            "indent with spaces, not with tabs" if any(part[:1].isspace() and "\t" in part for part in written) else ""
        )
        raise InvalidStack(f"{name}{line}: not YAML: {problem}", hint=hint) from exc


def decode(node: Node, kind: type[T], *, name: str, warnings: list[str]) -> T:
    """`node` as the struct `kind`, whose fields may be text, bool, tuples and maps of text, and structs.

    Unknown keys are passed over, as Go does, and told in `warnings`. Raises `InvalidStack`.
    """
    value: T = _Decoder(name, warnings).struct(node, kind, "")
    return value


class _Composer:
    """Nodes from events, by a stack of our own: the parser in C would end the process at its recursion's end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._anchors: dict[str, Node] = {}
        self._total = 0

    def document(self, events: Iterator[Any]) -> Node:
        root: Node | None = None
        open_nodes: list[_Open] = []
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise self._wrong(event, "a second document begins", "keep one document in the file")
            line = event.start_mark.line + 1
            done: Node | None = None
            anchor = getattr(event, "anchor", None)
            if isinstance(event, yaml.ScalarEvent):
                done = self._scalar(event)
            elif isinstance(event, yaml.AliasEvent):
                done, anchor = self._alias(event), None
            elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                if len(open_nodes) == _DEEPEST:
                    raise self._wrong(event, f"nested more than {_DEEPEST} deep")
                open_nodes.append(_Open(event))
            elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                opened = open_nodes.pop()
                done, anchor = self._close(opened), opened.event.anchor
            if done is None:
                continue
            if anchor:
                self._anchors[anchor] = done
            if open_nodes:
                open_nodes[-1].children.append((done, line))
            else:
                root = done
        return root or Scalar(1, "", null=True)

    def _scalar(self, event: Any) -> Scalar:
        if event.tag and event.tag != "!" and event.tag not in _TEXT_TAGS:
            raise self._wrong(event, f"the tag {event.tag} is not supported")
        self._count(event, 1)
        plain = event.style in (None, "") and not event.tag
        null = (plain and event.value in _NULLS) or (event.tag or "").endswith(":null")
        return Scalar(event.start_mark.line + 1, event.value, null=null)

    def _alias(self, event: Any) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            raise self._wrong(event, f"*{event.anchor} refers to an anchor that is not defined above it")
        self._count(event, node.size)
        return node

    def _close(self, opened: _Open) -> Node:
        event, children = opened.event, opened.children
        line = event.start_mark.line + 1
        self._count(event, 1)
        size = 1 + sum(node.size for node, _ in children)
        if isinstance(event, yaml.SequenceStartEvent):
            return List(line, tuple(node for node, _ in children), size)
        own: dict[str, Node] = {}
        lines: dict[str, int] = {}
        merged: dict[str, Node] = {}
        for (key, key_line), (value, _) in zip(children[::2], children[1::2], strict=True):
            if not isinstance(key, Scalar):
                raise InvalidStack(f"{self._name}:{key_line}: a key must be text")
            if key.text == "<<":
                merged = {**self._merge(value, key_line), **merged}
                continue
            if key.text in own:
                raise InvalidStack(
                    f"{self._name}:{key_line}: {key.text} appears twice, first in line {lines[key.text]}",
                    hint="keep one of them",
                )
            own[key.text], lines[key.text] = value, key_line
        items = {**{name: node for name, node in merged.items() if name not in own}, **own}
        lines = {name: lines.get(name, line) for name in items}
        return Map(line, items, lines, size, flow=bool(event.flow_style))

    def _merge(self, value: Node, line: int) -> dict[str, Node]:
        sources = value.items if isinstance(value, List) else (value,)
        found: dict[str, Node] = {}
        for source in sources:
            if not isinstance(source, Map):
                raise InvalidStack(f"{self._name}:{line}: <<: must be followed by a map or an alias of one")
            found = {**source.items, **found}
        self._count(None, len(found), line)
        return found

    def _count(self, event: Any, size: int, line: int = 0) -> None:
        self._total += size
        if self._total > _MOST_NODES:
            at = event.start_mark.line + 1 if event is not None else line
            raise InvalidStack(f"{self._name}:{at}: more than {_MOST_NODES} values, with aliases expanded")

    def _wrong(self, event: Any, what: str, hint: str = "") -> InvalidStack:
        return InvalidStack(f"{self._name}:{event.start_mark.line + 1}: {what}", hint=hint)


class _Open:
    """A sequence or mapping whose end has not come yet."""

    def __init__(self, event: Any) -> None:
        self.event = event
        self.children: list[tuple[Node, int]] = []


class _Decoder:
    """Nodes to typed values. `path` is the dotted key, for messages."""

    def __init__(self, name: str, warnings: list[str]) -> None:
        self._name = name
        self._warnings = warnings

    def struct(self, node: Node, kind: type[T], path: str) -> T:
        if isinstance(node, Scalar) and node.null:
            return kind()
        if not isinstance(node, Map):
            raise self._wrong(node, path or "the file", f"must be a map of keys, not {_called(node)}")
        hints = get_type_hints(kind)
        keys = {field.encode_name: field.name for field in msgspec.structs.fields(kind)}  # type: ignore[arg-type]  # T is a struct
        values: dict[str, object] = {}
        for key, child in node.items.items():
            inner = f"{path}.{key}" if path else key
            if key not in keys:
                self._unknown(key, inner, node.lines[key], list(keys))
                continue
            values[keys[key]] = self._value(child, hints[keys[key]], inner)
        return kind(**values)

    def _value(self, node: Node, kind: Any, path: str) -> object:
        if kind is str:
            return self._text(node, path)
        if kind is bool:
            return self._bool(node, path)
        if get_origin(kind) in (types.UnionType, Union):
            inner = next(part for part in get_args(kind) if part is not type(None))
            return None if isinstance(node, Scalar) and node.null else self._value(node, inner, path)
        if get_origin(kind) is tuple:
            return tuple(self._list(node, get_args(kind)[0], path))
        if isinstance(get_origin(kind), type) and issubclass(get_origin(kind), Mapping):
            return dict(self._map(node, get_args(kind)[1], path))
        return self.struct(node, kind, path)

    def _text(self, node: Node, path: str) -> str:
        if not isinstance(node, Scalar):
            raise self._wrong(node, path, f"must be text, not {_called(node)}")
        if "\0" in node.text:
            raise self._wrong(node, path, "must not hold a NUL character")
        return "" if node.null else node.text

    def _bool(self, node: Node, path: str) -> bool:
        text = self._text(node, path).lower()
        if text not in _YES | _NO | {""}:
            raise self._wrong(node, path, f"must be true or false, not {text[:40]!r}")
        return text in _YES

    def _list(self, node: Node, kind: Any, path: str) -> Iterator[object]:
        if isinstance(node, Scalar) and node.null:
            return
        if not isinstance(node, List):
            raise self._wrong(node, path, f"must be a list, not {_called(node)}", "begin each item with '- '")
        for number, item in enumerate(node.items):
            yield self._value(item, kind, f"{path}[{number}]")

    def _map(self, node: Node, kind: Any, path: str) -> Iterator[tuple[str, object]]:
        if isinstance(node, Scalar) and node.null:
            return
        if not isinstance(node, Map):
            raise self._wrong(
                node, path, f"must be a map, not {_called(node)}", "write KEY: VALUE on lines of their own"
            )
        for key, child in node.items.items():
            yield key, self._value(child, kind, f"{path}.{key}")

    def _unknown(self, key: str, path: str, line: int, known: list[str]) -> None:
        if key.startswith("x-"):
            return
        close = difflib.get_close_matches(key, known, n=1)
        self._warnings.append(
            f"{self._name}:{line}: {path} is not known and has no effect"
            + (f"; did you mean {close[0]}?" if close else "")
        )

    def _wrong(self, node: Node, path: str, what: str, hint: str = "") -> InvalidStack:
        return InvalidStack(f"{self._name}:{node.line}: {path}: {what}", hint=hint)


def _called(node: Node) -> str:
    match node:
        case Scalar():
            return "nothing" if node.null else f"the text {node.text[:40]!r}"
        case List():
            return "a list"
        case Map():
            return "a map"


def write_yaml(tree: object) -> str:
    """`tree`, of plain values, as YAML that reads back as the same."""
    text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, default_flow_style=False, width=2**16)
    if "\x85" in text:
        # YAML reads this character as the end of a line; the library escapes it only along with all that is not ASCII.
        text = yaml.safe_dump(tree, sort_keys=False, default_flow_style=False, width=2**16)
    return text
