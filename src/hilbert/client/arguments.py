"""Arguments of the clients' methods are looked at before anything is sent: a wrong type says what is accepted.

What is accepted stands in the methods' own annotations, which are texts here: nothing is imported to read them, and a
method costs nothing before it is called. A value is never repeated, since it may be a secret.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import FunctionType
from typing import Any, Final, TypeVar

from hilbert.core.errors import Invalid

C = TypeVar("C", bound=type)
Check = Callable[[Any], bool]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _is_texts(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair)


def _is_sequence(value: object, of: type) -> bool:
    return (
        isinstance(value, Sequence) and not isinstance(value, str | bytes) and all(isinstance(one, of) for one in value)
    )


_ACCEPTED: Final[Mapping[str, tuple[Check, str]]] = {
    "str": (lambda value: isinstance(value, str), "text"),
    "bool": (lambda value: isinstance(value, bool), "True or False"),
    "int": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    "float": (_is_number, "a number of seconds, such as 2.5"),
    "datetime": (lambda value: isinstance(value, datetime), "a datetime with a time zone"),
    "Mapping[str, str]": (_is_texts, 'a map of texts, such as {"NAME": "VALUE"}'),
    "Sequence[str]": (lambda value: _is_sequence(value, str), 'a list of texts, such as ["NAME"]'),
    "Sequence[BatchCall]": (lambda value: _is_sequence(value, object), "a list of BatchCall"),
    "Sequence[Mapping[str, Any]]": (lambda value: _is_sequence(value, Mapping), "a list of documents, each a map"),
    "Pairs": (lambda value: isinstance(value, Iterable), "a map of texts, or a list of pairs of texts"),
    "Auth": (lambda value: callable(getattr(value, "header", None)), "BasicAuth(USER, PASSWORD) or TokenAuth(TOKEN)"),
    "Callable[[str], None]": (callable, "a function that takes a text"),
    "Deployment": (lambda value: type(value).__name__ == "Deployment", "a Deployment"),
}
"""By annotation. Others are looked at where they are used: bodies, for instance, may be much."""
_COROUTINE: Final = 0x80
"""`inspect.CO_COROUTINE`; that module is slow to import, and each command would pay for it."""
_NONE: Final = " | None"


def checked(kind: C) -> C:
    """Have every public method of a class, and its making, look at its arguments. They raise `Invalid`."""
    for name, method in list(vars(kind).items()):
        if isinstance(method, FunctionType) and (name == "__init__" or not name.startswith("_")):
            setattr(kind, name, _looking(method))
    return kind


def check(name: str, value: object, annotation: str) -> None:
    """Raise `Invalid` for a value that is not what the annotation says."""
    if value is None and annotation.endswith(_NONE):
        return
    found = _ACCEPTED.get(annotation.removesuffix(_NONE))
    if found is not None and not found[0](value):
        raise Invalid(f"{name}: must be {found[1]}, not {type(value).__name__}")


def _looking(method: Callable[..., Any]) -> Callable[..., Any]:
    code = method.__code__
    positional = code.co_varnames[1 : code.co_argcount]
    annotations: Mapping[str, Any] = method.__annotations__

    def look(words: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        for name, value in (*zip(positional, words, strict=False), *options.items()):
            annotation = annotations.get(name)
            if isinstance(annotation, str):
                check(name, value, annotation)

    if code.co_flags & _COROUTINE:

        @functools.wraps(method)
        async def awaited(self: Any, /, *words: Any, **options: Any) -> Any:
            look(words, options)
            return await method(self, *words, **options)

        return awaited

    @functools.wraps(method)
    def called(self: Any, /, *words: Any, **options: Any) -> Any:
        look(words, options)
        return method(self, *words, **options)

    return called
