"""Reading JSON from strangers as Go's decoder would, with every failure a clear `Invalid`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from hilbert.core.errors import Invalid, InvalidSpec

T = TypeVar("T")

Texts = Mapping[str, str | None]
"""A map of texts as it arrives: Go reads a `null` value as the empty text."""


def decode(body: bytes, kind: type[T]) -> T:
    """`body` as `kind`. Raises `Invalid` for what is no JSON, has a wrong type, or is nested absurdly deep."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as exc:
        raise Invalid(_sentence(str(exc))) from exc
    except UnicodeDecodeError as exc:
        raise Invalid("the text is not UTF-8") from exc
    except RecursionError as exc:
        raise Invalid("the JSON is nested too deeply") from exc


def texts(given: Texts | None) -> dict[str, str]:
    """`null` maps are empty, `null` values the empty text."""
    return {key: value or "" for key, value in (given or {}).items()}


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
