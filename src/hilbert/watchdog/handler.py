"""Loading a Python handler: `handle(event, context)`, in a file of the bundle."""

# ruff: noqa: PTH100, PTH113, PTH118, PTH122, PTH123
# The import of pathlib would be paid at every start.

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

_PACKAGE: Final = "function"
"""The handler's folder is also this package, as in OpenFaaS's templates, so that `from .lib import x` works."""

_TAKES: Final = 2
_CO_VARARGS: Final = 0x04
_CO_COROUTINE: Final = 0x80
_CO_ASYNC_GENERATOR: Final = 0x200


class HandlerError(Exception):
    """The handler cannot be used; the message says what to change."""


def load_handler(file: str, layers: tuple[str, ...]) -> Callable[[Any, Any], Any]:
    """Import the handler's file and return its `handle`.

    The file's folder comes first on `sys.path`, then the layers, then what was there. Raises `HandlerError`, and
    whatever the handler's own code raises.
    """
    folder, name = os.path.split(os.path.abspath(file))
    stem, extension = os.path.splitext(name)
    if extension != ".py" or not os.path.isfile(file):
        raise HandlerError(f"the handler {file} is not a Python file that is there")
    sys.path[:0] = [folder, *layers]
    package = ModuleType(_PACKAGE)
    package.__path__ = [folder]
    sys.modules[_PACKAGE] = package
    init = os.path.join(folder, "__init__.py")
    if os.path.isfile(init) and stem != "__init__":
        package.__file__ = init
        with open(init, "rb") as source:
            exec(compile(source.read(), init, "exec"), package.__dict__)  # noqa: S102 - it is the function's package
    __import__(f"{_PACKAGE}.{stem}")
    handle = getattr(sys.modules[f"{_PACKAGE}.{stem}"], "handle", None)
    if not callable(handle):
        raise HandlerError(f"{name} has no function handle(event, context)")
    _check_arguments(handle, name)
    return handle  # type: ignore[no-any-return]  # its signature is the user's to keep


def _check_arguments(handle: Callable[..., Any], file: str) -> None:
    """Raises `HandlerError` for a plain function that cannot be called with an event and a context."""
    code = getattr(handle, "__code__", None)
    if not isinstance(handle, FunctionType) or not isinstance(code, CodeType) or hasattr(handle, "__wrapped__"):
        return
    most, least = code.co_argcount, code.co_argcount - len(handle.__defaults__ or ())
    if least <= _TAKES and (most >= _TAKES or code.co_flags & _CO_VARARGS):
        return
    names = ", ".join(code.co_varnames[:most])
    raise HandlerError(
        f"{file}: handle({names}) is called with (event, context); handle(req) is for the templates python3 and python3-flask"
    )


def is_async(handle: Callable[..., Any]) -> bool:
    """Whether a call gives a coroutine or an asynchronous iterator, and so needs an event loop."""
    while hasattr(handle, "__wrapped__"):
        handle = handle.__wrapped__
    for candidate in (handle, getattr(handle, "__func__", None), getattr(handle, "__call__", None)):  # noqa: B004
        code = getattr(candidate, "__code__", None)
        if isinstance(code, CodeType):
            return bool(code.co_flags & (_CO_COROUTINE | _CO_ASYNC_GENERATOR))
    return False
