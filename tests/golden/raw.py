"""One recorded request over a raw socket, and the answer in the record's own form."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http
import re
import socket
import threading
from typing import Any

Answer = dict[str, Any]

VOLATILE = frozenset({"date", "x-duration-seconds", "x-call-id", "x-start-time", "last-modified"})
"""Headers whose values differ from call to call."""

_INLINE = 3000
"""Bytes of a body that the record holds whole."""

_REASONS = {status.value: status.phrase for status in http.HTTPStatus} | {
    413: "Request Entity Too Large",
    414: "Request URI Too Long",
    418: "I'm a teapot",
}


def send(
    connection: socket.socket,
    request: dict[str, Any],
    *,
    target: str | None = None,
    sent: threading.Event | None = None,
) -> Answer:
    """Make a request on a fresh connection, which is closed afterwards. `sent` is set once all of it is on its way."""
    data = _render(request, target if target is not None else request["target"])
    sender = threading.Thread(target=_push, args=(connection, data, sent))
    sender.start()
    try:
        with connection:
            return _read(connection, request["method"])
    finally:
        sender.join(20)


def _push(connection: socket.socket, data: bytes, sent: threading.Event | None) -> None:
    with contextlib.suppress(OSError):  # The other side has answered and closed; the answer says what it thought.
        connection.sendall(data)
    if sent is not None:
        sent.set()


def body_bytes(form: dict[str, Any] | None) -> bytes:
    """A body as the record writes it, as bytes."""
    match form:
        case None:
            return b""
        case {"text": text}:
            return text.encode()
        case {"base64": text}:
            return base64.b64decode(text)
        case {"repeat": parts}:
            return b"".join(text.encode() * times for text, times in parts)
    raise ValueError(form)


def _render(request: dict[str, Any], target: str) -> bytes:
    body = body_bytes(request.get("body"))
    headers = [tuple(header) for header in request.get("headers", ())]
    given = {name.lower() for name, _ in headers}
    if "host" not in given:
        headers.insert(0, ("Host", "golden.test"))
    step = request.get("chunked", 0)
    if step:
        headers.append(("Transfer-Encoding", "chunked"))
    elif (body or request.get("zero_length")) and "content-length" not in given:
        headers.append(("Content-Length", str(len(body))))
    encoding = "utf-8" if request.get("utf8_headers") else "latin-1"
    head = f"{request['method']} {target} HTTP/1.1\r\n".encode("latin-1")
    head += b"".join(name.encode("latin-1") + b": " + value.encode(encoding) + b"\r\n" for name, value in headers)
    if step:
        size = step if step > 1 else max(len(body), 1)
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return head + b"\r\n" + body


def _read(connection: socket.socket, method: str) -> Answer:
    answer: Answer = {"status": None}
    source = connection.makefile("rb")
    try:
        status, reason, headers = _head(source)
        while 100 <= status < 200 and status != 101:
            status, reason, headers = _head(source)
        answer["status"] = status
        if reason != _REASONS.get(status, reason):
            answer["reason"] = reason
        answer["headers"] = [[name, value] for name, value in headers if name.lower() not in VOLATILE]
        body, framing, cut = _body(source, method, status, {name.lower(): value for name, value in headers})
        answer |= {"body": body_form(body), "framing": framing} | ({"cut": True} if cut else {})
    except TimeoutError:
        answer["timed_out"] = True
    except (EOFError, OSError):
        answer["closed"] = True
    return answer


def _head(source: Any) -> tuple[int, str, list[tuple[str, str]]]:
    line = _line(source)
    found = re.fullmatch(rb"HTTP/1\.[01] (\d{3})(?: (.*))?", line)
    if found is None:
        raise EOFError(line)
    headers = []
    while line := _line(source):
        name, _, value = line.partition(b":")
        headers.append((name.decode("latin-1"), value.strip().decode("latin-1")))
    return int(found[1]), (found[2] or b"").decode("latin-1"), headers


def _line(source: Any) -> bytes:
    line: bytes = source.readline(65537)
    if not line.endswith(b"\n"):
        raise EOFError
    return line.rstrip(b"\r\n")


def _body(source: Any, method: str, status: int, headers: dict[str, str]) -> tuple[bytes, str, bool]:
    if method == "HEAD" or status in (204, 304):
        return b"", "none", False
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return *_chunks(source), "chunked", False
    if "content-length" in headers:
        length = int(headers["content-length"])
        body = source.read(length)
        return body, "length", len(body) < length
    return source.read(), "close", False


def _chunks(source: Any) -> tuple[bytes]:
    data = b""
    while size := int(_line(source).split(b";")[0], 16):
        data += source.read(size)
        _line(source)
    while _line(source):
        pass
    return (data,)


def body_form(data: bytes) -> dict[str, Any]:
    """A body as the record writes it."""
    if len(data) > _INLINE:
        digest = hashlib.sha256(data).hexdigest()
        return {"length": len(data), "sha256": digest, "begins": data[:40].decode("latin-1")}
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text):
        return {"base64": base64.b64encode(data).decode()}
    return {"text": text}
