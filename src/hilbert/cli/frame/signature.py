"""The words and flags of a command, from the signature of its function.

Positional parameters are words, keyword ones are flags, and a parameter whose type is a `FlagGroup` stands for the flags
of its fields. Types: `str`, `int`, `bool`, a `Literal` of words, each also `| None`; `tuple[str, ...]` for what repeats.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from hilbert.cli.frame.flags import Flag, FlagGroup

MISSING: Final = object()
_TAKES_MORE: Final = 0x04
"""`inspect.CO_VARARGS`."""
_UNSAID: Final = Flag("", (), negative=False)


class Parameter(NamedTuple):
    """One word or flag of a command."""

    target: str
    """Name of the function's parameter that gets the value."""
    field: str
    """Field of the `FlagGroup` that it belongs to; empty if it is a parameter of its own."""
    names: tuple[str, ...]
    """As they are typed, e.g. `--namespace` and `-n`; of a word, what usage lines call it."""
    denials: tuple[str, ...]
    """Names that mean false, e.g. `--no-update`."""
    kind: type
    """`str`, `int` or `bool`."""
    choices: tuple[str, ...]
    repeats: bool
    is_word: bool
    default: object
    """`MISSING` where a value has to be given."""
    help: str

    @property
    def required(self) -> bool:
        return self.default is MISSING


class Signature(NamedTuple):
    """A command's parameters, and the groups that some of them belong to."""

    parameters: tuple[Parameter, ...]
    groups: Mapping[str, type[FlagGroup]]
    spread: str
    """Name of a parameter `*names`, which takes its words one by one; empty if there is none."""


def read_signature(function: Callable[..., object]) -> Signature:
    """Of a command's function. Raises `TypeError` for a type that no flag can have."""
    hints = get_type_hints(function, include_extras=True)
    parameters: list[Parameter] = []
    groups: dict[str, type[FlagGroup]] = {}
    spread = ""
    for name, default, is_word, is_spread in _declared(function):
        hint = hints[name]
        if isinstance(hint, type) and issubclass(hint, FlagGroup):
            groups[name] = hint
            fields = get_type_hints(hint, include_extras=True)
            defaults = hint()
            parameters += [
                _parameter(name, field, fields[field], getattr(defaults, field), is_word=False, spread=False)
                for field in hint.__struct_fields__
            ]
            continue
        spread = name if is_spread else spread
        parameters.append(_parameter(name, "", hint, default, is_word=is_word, spread=is_spread))
    return Signature(tuple(parameters), groups, spread)


def _declared(function: Callable[..., object]) -> Iterator[tuple[str, object, bool, bool]]:
    """Each parameter with its default, whether it is a word, and whether it is `*names`.

    As `inspect.signature` would tell, whose import takes as long as everything else that is done here.
    """
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"a command is a function, not {function!r}")
    code = function.__code__
    words, named = code.co_varnames[: code.co_argcount], code.co_argcount + code.co_kwonlyargcount
    values = function.__defaults__ or ()
    defaults = {**dict(zip(words[len(words) - len(values) :], values, strict=True)), **(function.__kwdefaults__ or {})}
    for number, name in enumerate(words):
        yield name, defaults.get(name, MISSING), number < code.co_posonlyargcount, False
    if code.co_flags & _TAKES_MORE:
        yield code.co_varnames[named], (), True, True
    for name in code.co_varnames[code.co_argcount : named]:
        yield name, defaults.get(name, MISSING), False, False


def _parameter(target: str, field: str, hint: Any, default: object, *, is_word: bool, spread: bool) -> Parameter:
    said, hint = _UNSAID, hint
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        said = next((extra for extra in extras if isinstance(extra, Flag)), _UNSAID)
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(one for one in get_args(hint) if one is not type(None))
    repeats = spread or get_origin(hint) is tuple
    hint = get_args(hint)[0] if get_origin(hint) is tuple else hint
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    kind = str if choices else hint
    if kind not in (str, int, bool):
        raise TypeError(f"no flag can be {kind}: {target}")
    own = field or target
    names = (own.upper(),) if is_word else said.names or (f"--{own.replace('_', '-')}",)
    denials = tuple(f"--no-{name[2:]}" for name in names if said.negative and name.startswith("--"))
    return Parameter(target, field, names, denials, kind, choices, repeats, is_word, default, said.help)
