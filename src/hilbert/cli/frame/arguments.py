"""From the words behind a command to the arguments of its function.

Written as OpenFaaS's command line takes them: `--name VALUE`, `--name=VALUE`, `-n VALUE`, `-n=VALUE`, `-nVALUE`, short
flags that stand alone together (`-qv`), `--flag` and `--flag=false`; of a flag given twice the last counts; `--` ends flags.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.signature import MISSING, Parameter, Signature, read_signature
from hilbert.core.errors import Invalid
from hilbert.core.values import parse_boolean, parse_whole


def bind(function: Callable[..., object], words: Sequence[str]) -> tuple[list[object], dict[str, object]]:
    """Positional and keyword arguments for `function`. Raises `UsageError`."""
    signature = read_signature(function)
    given, free = _Reading(signature).read(words)
    _place(signature, given, free)
    for parameter in signature.parameters:
        if parameter.required and parameter not in given:
            raise UsageError(f"{parameter.names[0]} is missing")
    grouped: dict[str, dict[str, Any]] = {name: {} for name in signature.groups}
    values: dict[str, object] = {}
    for parameter in signature.parameters:
        value = given.get(parameter, parameter.default)
        if parameter.field:
            grouped[parameter.target][parameter.field] = value
        elif value is not MISSING:
            values[parameter.target] = value
    values.update({name: group(**grouped[name]) for name, group in signature.groups.items()})
    positional: list[object] = []
    for parameter in signature.parameters:
        if parameter.is_word and not parameter.field:
            value = values.pop(parameter.target)
            positional += value if parameter.target == signature.spread and isinstance(value, tuple) else [value]
    return positional, values


class _Reading:
    """One pass over the words."""

    def __init__(self, signature: Signature) -> None:
        self._flags = {name: one for one in signature.parameters if not one.is_word for name in one.names}
        self._denials = {name: one for one in signature.parameters for name in one.denials}
        self._given: dict[Parameter, Any] = {}

    def read(self, words: Sequence[str]) -> tuple[dict[Parameter, Any], list[str]]:
        """What flags say, and the words that belong to none."""
        rest, free = list(words), []
        while rest:
            word = rest.pop(0)
            if word == "--":
                free += rest
                break
            if word.startswith("--"):
                self._long(word, rest)
            elif len(word) > 1 and word.startswith("-") and not _is_number(word):
                self._short(word, rest)
            else:
                free.append(word)
        return self._given, free

    def _long(self, word: str, rest: list[str]) -> None:
        name, equals, value = word.partition("=")
        if not equals and (denied := self._denials.get(name)) is not None:
            self._given[denied] = False
        elif (parameter := self._flags.get(name)) is None:
            self._unknown(name)
        else:
            self._take(parameter, name, value if equals else None, rest)

    def _short(self, word: str, rest: list[str]) -> None:
        letters = word[1:]
        while letters:
            name, letters = f"-{letters[0]}", letters[1:]
            parameter = self._flags.get(name)
            if parameter is None:
                self._unknown(name)
            if letters.startswith("="):
                return self._take(parameter, name, letters[1:], rest)
            if parameter.kind is not bool:
                return self._take(parameter, name, letters or None, rest)
            self._take(parameter, name, None, rest)
        return None

    def _take(self, parameter: Parameter, name: str, value: str | None, rest: list[str]) -> None:
        if value is None and parameter.kind is bool:
            self._given[parameter] = True
            return
        if value is None:
            if not rest or (rest[0] != "-" and rest[0].startswith("-") and not _is_number(rest[0])):
                raise UsageError(
                    f"{name} needs a value", hint=f"a value that begins with a dash is written {name}=VALUE"
                )
            value = rest.pop(0)
        converted = _convert(parameter, name, value)
        if parameter.repeats:
            converted = (*self._given.get(parameter, ()), converted)
        self._given[parameter] = converted

    def _unknown(self, name: str) -> NoReturn:
        import difflib

        near = difflib.get_close_matches(name, [*self._flags, *self._denials], n=1)
        raise UsageError(f"unknown option: {name}", hint=f"did you mean {near[0]}?" if near else "")


def _place(signature: Signature, given: dict[Parameter, Any], free: list[str]) -> None:
    """Give the free words to the parameters that are words, in order."""
    for parameter in signature.parameters:
        if not parameter.is_word or not free:
            continue
        name = parameter.names[0]
        if parameter.repeats:
            given[parameter] = tuple(_convert(parameter, name, word) for word in free)
            free = []
        else:
            given[parameter] = _convert(parameter, name, free.pop(0))
    if free:
        raise UsageError(f"unexpected argument{'s' if len(free) > 1 else ''}: {' '.join(free)}")


def _convert(parameter: Parameter, name: str, text: str) -> object:
    if parameter.choices:
        if text not in parameter.choices:
            raise UsageError(f"{name} {text}: must be one of {', '.join(parameter.choices)}")
        return text
    try:
        if parameter.kind is bool:
            return parse_boolean(text)
        if parameter.kind is int:
            return -parse_whole(text[1:]) if text.startswith("-") else parse_whole(text)
    except Invalid as exc:
        raise UsageError(f"{name}: {exc.message}") from exc
    return text


def _is_number(word: str) -> bool:
    return word[1:2].isdigit()
