"""`${VARIABLE}` in a stack file, as OpenFaaS's command line substitutes it before it reads the YAML.

The forms are those of the Go package drone/envsubst: `${V}`, `${V:-default}` (also `-`, `=` and `:=`; an empty variable
counts as unset), `${#V}`, `${V:offset}`, `${V:offset:length}`, `${V^}`, `${V^^}`, `${V,}`, `${V,,}`, `${V#pattern}`,
`${V##pattern}`, `${V%pattern}`, `${V%%pattern}`, `${V/text/new}`, `${V//text/new}`, `${V/#text/new}`, `${V/%text/new}`.
`$$` is a dollar sign, `\\\\` a backslash and `\\/` a slash; `$V` without braces is left alone.
Arguments may hold expressions themselves. What else a shell knows (`${V:?}`, `${V:+}`) is refused rather than guessed.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import Final

from hilbert.core.errors import InvalidStack

_NAME = re.compile(r"\w+")
_NUMBER = re.compile(r"\s*([+-]?[0-9]{1,9})\s*")
_OPERATOR = re.compile(r":-|:=|:\?|:\+|-|=|\?|\+|:|\^\^|\^|,,|,|//|/#|/%|/|##|#|%%|%")
_DEEPEST: Final = 16
_MOST: Final = 8 * 1024 * 1024


def substitute(text: str, environ: Mapping[str, str], *, name: str = "stack.yaml") -> str:
    """`text` with every `${...}` replaced. Raises `InvalidStack`, naming the file `name` and the line."""
    return _Reader(text, environ, name).text(end="", escapes=True, depth=0)


class _Reader:
    """Reads from `_at` on. `end` is the character that a piece ends before; empty: the end of the text."""

    def __init__(self, text: str, environ: Mapping[str, str], name: str) -> None:
        self._text = text
        self._environ = environ
        self._name = name
        self._at = 0
        self._written = 0

    def text(self, *, end: str, escapes: bool, depth: int) -> str:
        pieces: list[str] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            pair = self._text[self._at : self._at + 2]
            if pair == "${":
                piece = self._expression(depth)
            elif escapes and pair in ("$$", "\\\\", "\\/"):
                self._at += 2
                piece = pair[1]
            elif char == end:
                return "".join(pieces)
            else:
                self._at += 1
                piece = char
            self._written += len(piece)
            if self._written > _MOST:
                raise self._wrong("the file is too large after substitution", f"at most {_MOST >> 20} MiB")
            pieces.append(piece)
        if end:
            raise self._wrong("a ${ is not closed", "close it with }, or write $${ for the characters themselves")
        return "".join(pieces)

    def _expression(self, depth: int) -> str:
        if depth == _DEEPEST:
            raise self._wrong(f"${{ inside ${{ more than {_DEEPEST} times")
        begin = self._at
        self._at += 2
        if length := self._take("#"):
            value = str(len(self._value()))
        else:
            value = self._value()
            operator = _OPERATOR.match(self._text, self._at)
            if operator and not length:
                self._at = operator.end()
                value = self._apply(operator[0], value, depth + 1)
        if not self._take("}"):
            shown = self._text[begin : begin + 40].partition("\n")[0]
            raise self._wrong(
                f"bad substitution {shown}", "write $${ for the characters themselves, or use --envsubst=false"
            )
        return value

    def _value(self) -> str:
        match = _NAME.match(self._text, self._at)
        if match is None:
            raise self._wrong("${ without the name of a variable", "write $${ for the characters themselves")
        self._at = match.end()
        return self._environ.get(match[0], "")

    def _take(self, char: str) -> bool:
        found = self._text.startswith(char, self._at)
        self._at += found
        return found

    def _apply(self, operator: str, value: str, depth: int) -> str:
        if operator in (":-", ":=", "-", "="):
            default = self.text(end="}", escapes=False, depth=depth)
            return value or default
        if operator in ("^", "^^", ",", ",,"):
            return _change_case(operator, value)
        if operator == ":":
            return self._substring(value, depth)
        if operator[0] == "/":
            old = self.text(end="/", escapes=True, depth=depth)
            self._at += 1
            return _replace(operator, value, old, self.text(end="}", escapes=True, depth=depth))
        if operator[0] in "#%":
            return _strip(operator, value, self.text(end="}", escapes=False, depth=depth))
        raise self._wrong(f"${{...{operator}...}} is not supported", "use ${NAME:-default}")

    def _substring(self, value: str, depth: int) -> str:
        given = self.text(end="}", escapes=False, depth=depth)
        offset_text, colon, length_text = given.partition(":")
        offset, length = _NUMBER.fullmatch(offset_text), _NUMBER.fullmatch(length_text)
        if offset is None or (colon and length is None):
            raise self._wrong(f"${{NAME:{given}}}: offset and length must be whole numbers")
        start = int(offset[1])
        start = max(0, len(value) + start) if start < 0 else start
        return value[start : start + max(0, int(length[1]))] if length else value[start:]

    def _wrong(self, what: str, hint: str = "") -> InvalidStack:
        line = self._text.count("\n", 0, self._at) + 1
        return InvalidStack(f"{self._name}:{line}: {what}", hint=hint)


def _change_case(operator: str, value: str) -> str:
    count = len(value) if len(operator) == 2 else 1
    head = value[:count].upper() if operator[0] == "^" else value[:count].lower()
    return head + value[count:]


def _replace(operator: str, value: str, old: str, new: str) -> str:
    match operator:
        case "//":
            return value.replace(old, new) if old else value
        case "/#":
            return new + value[len(old) :] if value.startswith(old) else value
        case "/%":
            return value[: len(value) - len(old)] + new if value.endswith(old) else value
        case _:
            return value.replace(old, new, 1) if old else value


def _strip(operator: str, value: str, pattern: str) -> str:
    """Remove the shortest or longest non-empty part that matches, from the front (`#`) or the back (`%`)."""
    matches = re.compile(fnmatch.translate(pattern.replace("[^", "[!"))).match
    lengths = range(1, len(value) + 1) if len(operator) == 1 else range(len(value), 0, -1)
    for count in lengths:
        if operator[0] == "#" and matches(value[:count]):
            return value[count:]
        if operator[0] == "%" and matches(value[len(value) - count :]):
            return value[: len(value) - count]
    return value
