"""From what a Python handler returns to an HTTP response.

The rules of OpenFaaS's python3-http template: None, text, bytes, a dict with `statusCode`, `headers` and `body`, or a tuple
(body, status, headers) as in Flask. Added here: a dict without any of the three keys is JSON, and a body may be an
iterator or asynchronous iterator of text or bytes, which is sent as it comes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

_TEXT = b"text/html; charset=utf-8"
_JSON = b"application/json"
_BYTES = b"application/octet-stream"
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


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
    if isinstance(value, Mapping):
        if value.keys() & {"statusCode", "headers", "body"}:
            status, headers, body = value.get("statusCode", 200), value.get("headers") or (), value.get("body")
    elif isinstance(value, tuple):
        body, status, headers = _from_tuple(value)
    given = _to_headers(headers)
    content, kind = _to_body(body)
    if kind and not any(name.lower() == b"content-type" for name, _ in given):
        given.append((b"Content-Type", kind))
    return Answer(_to_status(status), given, content)


def to_chunk(item: object) -> bytes:
    """One item of a streamed body. Raises `AnswerError`."""
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    if isinstance(item, str):
        return item.encode()
    raise AnswerError(f"a streamed body yields text or bytes, not {type(item).__name__}")


def _from_tuple(value: tuple[object, ...]) -> tuple[object, object, object]:
    match value:
        case (body, int() as status):
            return body, status, ()
        case (body, headers):
            return body, 200, headers
        case (body, status, headers):
            return body, status, headers
    raise AnswerError(
        f"a tuple must be (body, status), (body, headers) or (body, status, headers), not {len(value)} items"
    )


def _to_status(status: object) -> int:
    if isinstance(status, str) and status.isascii() and status.isdigit():
        status = int(status)
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise AnswerError(f"statusCode must be a number from 200 to 599, not {status!r}")
    return int(status)


def _to_headers(headers: object) -> list[tuple[bytes, bytes]]:
    items: Iterable[Any]
    if isinstance(headers, Mapping):
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
        values = value if isinstance(value, (list, tuple)) else (value,)
        found += [(_name(name), _line(one)) for one in values]
    return found


def _name(name: object) -> bytes:
    """A header's name: a token of RFC 9110. Raises `AnswerError`."""
    text = _line(name)
    if not text or text.translate(None, _TOKEN):
        raise AnswerError(f"{name!r} is not a header name")
    return text


def _line(value: object) -> bytes:
    """A header's value. Raises `AnswerError` for what would end the line."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    if any(c in text for c in "\r\n\0"):
        raise AnswerError(f"header {text!r} must not contain a line break")
    return text.encode("latin-1") if text.isascii() else text.encode("utf-8")


def _to_body(body: object) -> tuple[bytes | Iterator[Any] | AsyncIterator[Any], bytes]:
    """The body and the content type that it has unless the handler says another."""
    if body is None:
        return b"", b""
    if isinstance(body, str):
        return body.encode(), _TEXT
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body), _BYTES
    if isinstance(body, (Mapping, list, tuple)):
        return _to_json(body), _JSON
    if isinstance(body, (Iterator, AsyncIterator)):
        return body, _BYTES
    return str(body).encode(), _TEXT


def _to_json(body: object) -> bytes:
    import json

    try:
        return json.dumps(dict(body) if isinstance(body, Mapping) else body).encode()
    except (TypeError, ValueError) as exc:
        raise AnswerError(f"the body cannot be written as JSON: {exc}") from exc
