"""Requests and answers over plain ASGI: headers, parameters, a body within bounds, an answer whole or in pieces."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from hilbert.api.problems import Refusal
from hilbert.kit.aio import cancel, spawn

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Take = Callable[[int], None]
"""Told of so many bytes more that are held for a request. Raises `Refusal` when they are too many."""

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"

MAX_PARAMETERS: Final = 256
_ONCE: Final = (b"authorization", b"content-type", b"host", b"origin", b"sec-fetch-mode", b"sec-fetch-site")
"""Who asks, from where, and for what: a proxy in front might look at the first where we look at the last."""

_encode = msgspec.json.Encoder().encode


class ClientLeft(Exception):
    """The client closed its connection before the request was whole: no failure of ours, and nobody is there to read of it."""


class RawRequest(msgspec.Struct, frozen=True):
    """A request byte for byte."""

    method: str = ""
    target: bytes = b""
    """Path and query."""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


class Request:
    """What came in, read when it is asked for."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        """Percent-decoded, without the query."""
        self.headers: Mapping[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        """Names in lower case; the last of repeated ones."""
        names = [name for name, _ in scope["headers"]] if len(self.headers) < len(scope["headers"]) else []
        self.read_twice = next((name.decode() for name in _ONCE if names.count(name) > 1), "")
        """One of those headers that two readers would read in two ways, if it came more than once."""
        self.receive = receive
        self._query: bytes = scope["query_string"]
        self._scope = scope

    def parameters(self) -> dict[str, str]:
        """The query; the last of repeated parameters. Raises `Refusal` for absurdly many."""
        try:
            pairs = parse_qsl(self._query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        except ValueError as exc:
            raise Refusal(400, "bad-request", f"the query has more than {MAX_PARAMETERS} parameters") from exc
        return dict(pairs)

    async def raw(self, limit: int, take: Take) -> RawRequest:
        """All of it as it came. Raises as `body`."""
        path: bytes = self._scope["raw_path"]
        target = b"%b?%b" % (path, self._query) if self._query else path
        fields = tuple((name, value) for name, value in self._scope["headers"])
        return RawRequest(self.method, target, fields, await self._body(limit, take))

    async def body(self, limit: int, take: Take) -> bytes:
        """The body without the white space around it. Raises `Refusal` for more than `limit` bytes, `ClientLeft`, and what `take` raises."""
        return (await self._body(limit, take)).strip()

    async def _body(self, limit: int, take: Take) -> bytes:
        length = self.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > limit:
            raise _too_large()
        whole = bytearray()
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            piece: bytes = message.get("body", b"")
            if len(whole) + len(piece) > limit:
                raise _too_large()
            take(len(piece))
            whole += piece
            more = message.get("more_body", False)
        return bytes(whole)


class Answer(msgspec.Struct, frozen=True):
    """What goes out. A body that is a generator goes out piece by piece, and is closed when the client leaves."""

    status: int
    body: bytes | AsyncGenerator[bytes, None] = b""
    media: str = TEXT
    headers: Mapping[str, str] = {}


def json(document: object, *, status: int = 200) -> Answer:
    return Answer(status, _encode(document), JSON)


async def send_answer(answer: Answer, receive: Receive, send: Send) -> None:
    """Send it, and return when it is sent or the client has left."""
    head = [(b"content-type", answer.media.encode())]
    head += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    if isinstance(answer.body, bytes):
        head.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": head})
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": head})
    # Two tasks, since only the client's side says that it has left, and the next piece may be hours away.
    sender = spawn(_send_pieces(answer.body, send), name="stream an answer")
    watcher = spawn(_until_gone(receive), name="watch a client")
    try:
        await asyncio.wait((sender, watcher), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel(watcher, sender)


async def _send_pieces(pieces: AsyncGenerator[bytes, None], send: Send) -> None:
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large() -> Refusal:
    text = "the request's body is larger than the setting gateway.max_api_body allows"
    return Refusal(413, "body-too-large", text, headers={"Connection": "close"})
