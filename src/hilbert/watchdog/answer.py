"""From what a Python handler returns to an HTTP response.

The rules of OpenFaaS's python3-http template: None, text, bytes, a dict with `statusCode`, `headers` and `body`, or a tuple
(body, status, headers) as in Flask. Added here: a dict without any of the three keys is JSON, a `body` may be bytes or a
list, a header's value a list, and an asynchronous iterator of text or bytes is sent as it comes. What Flask itself makes,
such as its `Response`, is `flask_calls`'s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

_TEXT = b"text/html; charset=utf-8"
_JSON = b"application/json"
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


_LOCATION_LENGTH = len(b"location")
_TYPE_LENGTH = len(b"content-type")

_names: dict[str, bytes] = {}
"""Header names that were looked at: a handler gives the same few with every answer."""
_MOST_NAMES = 1000
_LONGEST_NAME = 64


class AnswerError(Exception):
    """The handler's value is no response; the message says why."""


class Answer(NamedTuple):
    """A response as bytes, or as a source of them."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes | Iterator[Any] | AsyncIterator[Any]


def to_answer(value: object) -> Answer:
    """Raises `AnswerError`."""
    status: object = 200
    headers: object = ()
    body: object = value
    if isinstance(value, (dict, Mapping)):  # `dict` first: asking an abstract class takes its time.
        if "statusCode" in value or "headers" in value or "body" in value:
            status, headers, body = value.get("statusCode"), value.get("headers") or (), value.get("body", "")
            status = 200 if status is None else status
            body = str(body) if isinstance(body, (int, float)) else body
    elif isinstance(value, tuple):
        body, status, headers = _from_tuple(value)
        if body is None:
            raise AnswerError("the body of a tuple must not be None")
    given = _to_headers(headers)
    content, kind = _to_body(body)
    number = _to_status(status)
    if number != 304 and not _has_type(given):
        given.append((b"Content-Type", kind))
    return Answer(number, given, content)


def _has_type(headers: list[tuple[bytes, bytes]]) -> bool:
    for name, _ in headers:  # noqa: SIM110 - a generator takes longer than all the looks
        if len(name) == _TYPE_LENGTH and name.lower() == b"content-type":
            return True
    return False


def to_chunk(item: object) -> bytes:
    """One item of a streamed body. Raises `AnswerError`."""
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    if isinstance(item, str):
        return item.encode()
    raise AnswerError(f"a streamed body yields text or bytes, not {type(item).__name__}")


def _from_tuple(value: tuple[object, ...]) -> tuple[object, object, object]:
    match value:
        case (body, int() | str() as status):
            return body, status, ()
        case (body, headers):
            return body, 200, headers
        case (body, status, headers):
            return body, status, headers
    raise AnswerError(
        f"a tuple must be (body, status), (body, headers) or (body, status, headers), not {len(value)} items"
    )


def _to_status(status: object) -> int:
    if isinstance(status, str):  # `404`, or a whole status line: `404 Gone Fishing`
        number, _, _ = status.strip().partition(" ")
        status = int(number) if number.isascii() and number.isdigit() and len(number) == 3 else status
    if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 999:
        raise AnswerError(f"statusCode must be a number from 200 to 999, not {status!r}")
    return int(status)


def _to_headers(headers: object) -> list[tuple[bytes, bytes]]:
    items: Iterable[Any]
    if isinstance(headers, (dict, Mapping)):
        items = headers.items()
    elif isinstance(headers, (list, tuple)):
        items = headers
    else:
        raise AnswerError(f"headers must be a dict or a list of pairs, not {type(headers).__name__}")
    found = []
    for item in items:
        try:
            name, value = item
        except (TypeError, ValueError) as exc:
            raise AnswerError("headers must be pairs of name and value") from exc
        key = _names.get(name) if type(name) is str else None
        if key is None:
            key = _name(name)
        if type(value) is str and len(key) != _LOCATION_LENGTH:
            found.append((key, _line(value)))
            continue
        values = value if isinstance(value, (list, tuple)) else (value,)
        lines = [_line(one) for one in values]
        if key.lower() == b"location":
            lines = [_location(one) if isinstance(one, str) else line for one, line in zip(values, lines, strict=True)]
        found += [(key, line) for line in lines]
    return found


def _name(name: object) -> bytes:
    """A header's name: a token of RFC 9110. Raises `AnswerError`."""
    text = _line(name)
    if not text or text.translate(None, _TOKEN):
        raise AnswerError(f"{name!r} is not a header name")
    if type(name) is str and len(name) <= _LONGEST_NAME and len(_names) < _MOST_NAMES:
        _names[name] = text
    return text


def _line(value: object) -> bytes:
    """A header's value: Latin-1 where that can hold it, else UTF-8. Raises `AnswerError` for what would end the line."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    if "\r" in text or "\n" in text or "\0" in text:
        raise AnswerError(f"header {text!r} must not contain a line break")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8")


def _location(text: str) -> bytes:
    """A place to go to, with what is outside ASCII percent-encoded, as werkzeug writes it."""
    return b"".join(b"%c" % octet if octet < 0x80 else b"%%%02X" % octet for octet in text.encode())


def _to_body(body: object) -> tuple[bytes | Iterator[Any] | AsyncIterator[Any], bytes]:
    """The body and the content type that it has unless the handler says another."""
    if body is None:
        return b"", _TEXT
    if isinstance(body, str):
        return body.encode(), _TEXT
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body), _TEXT
    if isinstance(body, (Mapping, list, tuple)):
        return _to_json(body), _JSON
    if isinstance(body, (Iterator, AsyncIterator)):
        return body, _TEXT
    raise AnswerError(
        f"handle returned {type(body).__name__}; it must return text, bytes, a dict, a list, a tuple (body, status, headers), "
        "an iterator or None"
    )


def _to_json(body: object) -> bytes:
    """As Flask writes it: names sorted, no blanks, a line break at the end; dates as HTTP has them, decimals as text."""
    import json

    value = dict(body) if isinstance(body, Mapping) else body
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_json_default).encode() + b"\n"
    except (TypeError, ValueError) as exc:
        raise AnswerError(f"the body cannot be written as JSON: {exc}") from exc


def _json_default(value: object) -> object:
    """What JSON has no form for, as Flask's provider writes it. Raises `TypeError` for the rest."""
    import dataclasses
    import datetime
    import decimal
    import uuid
    from email.utils import format_datetime

    match value:
        case datetime.datetime():
            aware = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
            return format_datetime(aware.astimezone(datetime.UTC), usegmt=True)
        case datetime.date():
            midnight = datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
            return format_datetime(midnight, usegmt=True)
        case decimal.Decimal() | uuid.UUID():
            return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    html = getattr(value, "__html__", None)
    if html is not None:
        return str(html())
    raise TypeError(f"{type(value).__name__} is not JSON")
