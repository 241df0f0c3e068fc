"""Texts with a form: base64 and times, read as Go reads them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_ALPHABET: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_TIME: Final = "2006-01-02T15:04:05Z07:00"
_MICRO: Final = "2006-01-02T15:04:05.000000Z07:00"
_PARTS: Final = (
    (r"\d{4}", "2006"),
    ("-", "-"),
    (r"\d{2}", "01"),
    ("-", "-"),
    (r"\d{2}", "02"),
    ("T", "T"),
    (r"\d{2}", "15"),
    (":", ":"),
    (r"\d{2}", "04"),
    (":", ":"),
    (r"\d{2}", "05"),
)


def base64_text(text: str) -> str:
    """Without line breaks. Raises `ValueError` with Go's text."""
    kept = 0
    start = 0
    for index, char in enumerate(text):
        if char in "\r\n":
            continue
        if kept % 4 == 0:
            start = index
        if char == "=":
            rest = text[index:].replace("\r", "").replace("\n", "")
            wanted = {2: "==", 3: "="}.get(kept % 4)
            if rest != wanted:
                raise ValueError(f"illegal base64 data at input byte {index}")
            return text.replace("\r", "").replace("\n", "")
        if char not in _ALPHABET:
            raise ValueError(f"illegal base64 data at input byte {index}")
        kept += 1
    if kept % 4:
        raise ValueError(f"illegal base64 data at input byte {start}")
    return text.replace("\r", "").replace("\n", "")


def time_text(text: str, *, micro: bool) -> str:
    """In UTC, with six digits of a second for `micro`. Raises `ValueError` with Go's text."""
    layout = _MICRO if micro else _TIME
    at = 0
    for pattern, name in _PARTS:
        match = re.compile(pattern).match(text, at)
        if match is None:
            raise _unread(text, layout, text[at:], name)
        at = match.end()
    fraction = re.compile(r"\.\d+").match(text, at)
    if micro and (fraction is None or len(fraction.group()) != 7):
        raise _unread(text, layout, text[at:], ".000000")
    at = fraction.end() if fraction is not None else at
    if not re.compile(r"(Z|[+-]\d\d:\d\d)$").match(text, at):
        raise _unread(text, layout, text[at:], "Z07:00")
    if not text.endswith("Z"):
        moment = datetime.fromisoformat(text).astimezone(UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")
    return text if micro else text[:19] + "Z"


def _unread(text: str, layout: str, rest: str, name: str) -> ValueError:
    return ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{name}"')
