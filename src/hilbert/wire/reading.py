"""Reading JSON from strangers as Go's decoder would, with every failure a clear `Invalid`."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from hilbert.core.errors import Invalid, InvalidSpec

T = TypeVar("T")


def decode(body: bytes, kind: type[T]) -> T:
    """`body` as `kind`. Raises `Invalid` for what is no JSON, has a wrong type, or is nested absurdly deep."""
    try:
        return parse(body, kind)
    except msgspec.MsgspecError as exc:
        raise Invalid(_sentence(str(exc))) from exc
    except UnicodeDecodeError as exc:
        raise Invalid("the text is not UTF-8") from exc
    except RecursionError as exc:
        raise Invalid("the JSON is nested too deeply") from exc


def parse(body: bytes, kind: type[T]) -> T:
    """`body` as `kind`. To Go, `null` is the empty value of whatever should stand there. Raises `MsgspecError`."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError:
        # Rare: few clients write null. What is wrong for another reason is wrong without its nulls, too.
        document = _without_nulls(msgspec.json.decode(body), _info(kind))  # type: ignore[arg-type]
        return msgspec.convert(document, kind)


@functools.cache
def _info(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _without_nulls(found: Any, kind: inspect.Type) -> Any:
    """`found` without the nulls that `kind` does not allow: fields are left out, values of maps become the empty text."""
    if isinstance(kind, inspect.UnionType):
        inner = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
        return found if found is None or len(inner) != 1 else _without_nulls(found, inner[0])
    if isinstance(kind, inspect.StructType) and isinstance(found, dict):
        fields = {field.encode_name: field.type for field in kind.fields}
        return {
            key: _without_nulls(value, fields[key]) if key in fields else value
            for key, value in found.items()
            if value is not None or (key in fields and _allows_null(fields[key]))
        }
    if isinstance(kind, inspect.DictType) and isinstance(found, dict):
        texts = isinstance(kind.value_type, inspect.StrType)
        return {
            key: "" if value is None and texts else _without_nulls(value, kind.value_type)
            for key, value in found.items()
        }
    if isinstance(kind, (inspect.ListType, inspect.VarTupleType)) and isinstance(found, list):
        return [_without_nulls(item, kind.item_type) for item in found]
    return found


def _allows_null(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.UnionType) and any(isinstance(one, inspect.NoneType) for one in kind.types)


def check_size(what: str, pairs: Iterable[tuple[str, str]], *, count: int, size: int) -> None:
    """Raise `InvalidSpec` for more than `count` pairs, or more than `size` bytes of keys and values together."""
    entries = 0
    total = 0
    for key, value in pairs:
        entries += 1
        total += len(key.encode("utf-8", "surrogatepass")) + len(value.encode("utf-8", "surrogatepass"))
    if entries > count:
        raise InvalidSpec(f"{what}: {entries} entries; the most is {count} per function or namespace")
    if total > size:
        raise InvalidSpec(f"{what}: {total} bytes; the most is {size} per function or namespace")


def _sentence(text: str) -> str:
    """A decoder's message without what it quotes of the input, which may be long or a secret."""
    return text if len(text) <= 300 else text[:297] + "..."
