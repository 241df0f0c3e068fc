"""The HTTP side of the API server, as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from kubernetes_double.serving.status import ApiError, PlainError

if TYPE_CHECKING:
    from kubernetes_double.server import ApiServer

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_MOST_BODY = 3 * 2**20


@dataclass
class Call:
    """One request, as handlers see it; also what `ApiServer.requests` holds."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    user: str = ""
    groups: tuple[str, ...] = ()
    status: int = 0
    at: float = field(default_factory=monotonic)
    watch: bool = False

    @property
    def agent(self) -> str:
        return self.headers.get("user-agent", "")

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0].strip().lower()


@dataclass
class Answer:
    """What goes back: a body, or a stream of its pieces."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)
    stream: Any = None
    """An async iterator of bytes, instead of a body."""


def json_answer(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, msgspec.json.encode(value), headers=list((headers or {}).items()))


class App:
    """Reads requests, runs the handler, writes answers."""

    def __init__(self, server: ApiServer, handle: Callable[[Call], Awaitable[Answer]]) -> None:
        self._server = server
        self._handle = handle

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            text = value.decode("latin-1")
            headers[key] = f"{headers[key]},{text}" if key in headers else text
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        call = Call(scope["method"], scope["path"], query, headers)
        try:
            call.body = await _body(receive)
            answer = await self._answer(call)
        except ApiError as exc:
            answer = json_answer(exc.code, exc.status, exc.headers)
        except PlainError as exc:
            answer = Answer(exc.code, exc.text.encode(), "text/plain; charset=utf-8", list(exc.headers.items()))
        call.status = answer.status
        if answer.stream is None:
            await _whole(call, answer, send)
        else:
            await _stream(answer, receive, send)

    async def _answer(self, call: Call) -> Answer:
        chaos = self._server.chaos
        self._server.note(call)
        if chaos.latency:
            await asyncio.sleep(chaos.latency)
        fault = chaos.next_fault(call.method, call.path)
        if fault is not None and not fault.after:
            raise fault.error()
        answer = await self._handle(call)
        if fault is not None:
            raise fault.error()
        return answer


async def _body(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(pieces)
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > _MOST_BODY:
            raise ApiError(413, f"Request entity too large: limit is {_MOST_BODY}", reason="RequestEntityTooLarge")
        if not message.get("more_body"):
            return b"".join(pieces)


def _headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    found = [(b"content-type", answer.content_type.encode())]
    if not any(name.lower() == "cache-control" for name, _ in answer.headers):
        found.append((b"cache-control", b"no-cache, private"))
    found.extend((name.lower().encode(), value.encode()) for name, value in answer.headers)
    return found


async def _whole(call: Call, answer: Answer, send: Send) -> None:
    headers = _headers(answer)
    body = b"" if call.method == "HEAD" else answer.body
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(answer: Answer, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": _headers(answer)})
    gone = asyncio.create_task(_until_gone(receive))
    iterator = answer.stream.__aiter__()
    # The first piece of nothing makes the headers go out now.
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    step: asyncio.Task[bytes] | None = None
    try:
        while True:
            step = asyncio.ensure_future(iterator.__anext__())
            await asyncio.wait((step, gone), return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                return
            try:
                piece = step.result()
            except StopAsyncIteration:
                break
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        for task in (step, gone):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await iterator.aclose()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def text_answer(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), "text/plain; charset=utf-8")
