"""Serves the ASGI application in function/handler.py to the watchdog. Edit the handler, not this file."""

import contextvars
import io
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
HANDLER = os.path.join(HERE, "function", "handler.py")
CALL = contextvars.ContextVar("CALL", default=None)


def check() -> None:
    """Find mistakes of syntax without running anything."""
    import traceback

    with open(HANDLER, "rb") as file:
        source = file.read()
    try:
        compile(source, "handler.py", "exec")
    except (SyntaxError, ValueError) as mistake:
        sys.exit("".join(traceback.format_exception_only(mistake)))


def listener(upstream: str) -> dict:
    """Where to listen, from the watchdog's `upstream_url`: unix:NAME (in TMPDIR), unix:/PATH or http://HOST:PORT."""
    if upstream.startswith("unix:"):
        return {"uds": os.path.join(os.environ.get("TMPDIR") or "/tmp", upstream.removeprefix("unix:"))}
    host, _, port = upstream.partition("//")[2].strip("/").rpartition(":")
    return {"host": host or "127.0.0.1", "port": int(port)}


class Told(io.RawIOBase):
    """Below `sys.stdout` and `sys.stderr`: tells the watchdog which call writes a line, as `CALL-ID TEXT` on a descriptor of its own."""

    def __init__(self, descriptor: int, log: int) -> None:
        super().__init__()
        self.descriptor, self.log = descriptor, log
        self.begun = b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def write(self, data) -> int:
        call = CALL.get()
        id_, begun = call or (b"", {self: self.begun})
        *lines, rest = (begun.get(self, b"") + bytes(data)).split(b"\n")
        begun[self] = rest
        if not call:
            self.begun = rest
        self.tell(id_, lines)
        return len(data)

    def tell(self, id_: bytes, lines: list) -> None:
        text = memoryview(b"".join(b"%b %b\n" % (id_, line) for line in lines))
        while text:
            text = text[os.write(self.log, text) :]


def telling_calls(app):
    """`app`, whose lines in the log name their call."""
    log = int(os.environ.pop("WATCHDOG_LOG_FD", "0"))
    if not log:
        return app
    streams = [Told(descriptor, log) for descriptor in (1, 2)]
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(one, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
        for one in streams
    )

    async def wrapped(scope, receive, send):
        id_ = next((value for name, value in scope.get("headers", ()) if name == b"x-call-id"), b"")
        if not re.fullmatch(rb"[\w.:-]{1,128}", id_):
            return await app(scope, receive, send)
        begun = {}
        CALL.set((id_, begun))
        try:
            return await app(scope, receive, send)
        finally:
            for stream, rest in list(begun.items()):
                stream.tell(id_, [rest] if rest else [])
                begun[stream] = b""

    return wrapped


def as_seen_by_callers(app):
    """`app` with the caller's address, host, scheme and path prefix, which the gateway says in headers that no caller can set."""

    async def wrapped(scope, receive, send):
        if scope["type"] in ("http", "websocket"):
            scope = seen_by_callers(scope)
        await app(scope, receive, send)

    return wrapped


def seen_by_callers(scope: dict) -> dict:
    said = {name: value.decode("latin-1") for name, value in scope["headers"] if name.startswith(b"x-forwarded-")}
    scope = dict(scope)
    peer = said.get(b"x-forwarded-for", "").partition(",")[0].strip()
    if peer:
        scope["client"] = address_and_port(peer)
    host = said.get(b"x-forwarded-host")
    if host:
        others = [pair for pair in scope["headers"] if pair[0] != b"host"]
        scope["headers"] = [(b"host", host.encode("latin-1")), *others]
    if said.get(b"x-forwarded-proto") == "https":
        scope["scheme"] = "wss" if scope["type"] == "websocket" else "https"
    prefix = said.get(b"x-forwarded-prefix", "").rstrip("/")
    if prefix:
        scope["root_path"] = prefix
        scope["path"] = prefix + scope["path"]
        scope["raw_path"] = prefix.encode("latin-1") + scope.get("raw_path", b"")
    return scope


def address_and_port(peer: str) -> tuple[str, int]:
    """`192.0.2.1:80`, `[2001:db8::1]:80`, or either without a port."""
    if peer.startswith("["):
        address, _, port = peer[1:].partition("]")
        return address, int(port.lstrip(":") or 0)
    if peer.count(":") == 1:
        address, _, port = peer.partition(":")
        return address, int(port or 0)
    return peer, 0


class Joined:
    """A connection's transport that sends what is written in one turn as one: an answer's head and body wake their reader once."""

    MOST = 16384

    def __init__(self, transport, loop) -> None:
        self.transport, self.loop = transport, loop
        self.parts, self.size = [], 0

    def write(self, data: bytes) -> None:
        if not self.parts:
            self.loop.call_soon(self.flush)
        self.parts.append(data)
        self.size += len(data)
        if self.size > self.MOST:
            self.flush()

    def flush(self) -> None:
        if self.parts:
            parts, self.parts, self.size = self.parts, [], 0
            self.transport.write(b"".join(parts))

    def is_closing(self) -> bool:
        return self.transport.is_closing()

    def pause_reading(self) -> None:
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        self.transport.resume_reading()

    def __getattr__(self, name: str):
        """Whatever else is done with it comes after what was written."""
        self.flush()
        return getattr(self.transport, name)


def joining(protocol: type) -> type:
    """uvicorn's class for a connection, with such a transport."""
    import asyncio

    class Joining(protocol):
        def connection_made(self, transport) -> None:
            super().connection_made(Joined(transport, asyncio.get_running_loop()))

    return Joining


def serve() -> None:
    import uvicorn
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    sys.path[:0] = [os.path.dirname(HANDLER), HERE]
    telling = telling_calls(lambda scope, receive, send: app(scope, receive, send))
    from function.handler import app

    uvicorn.run(
        as_seen_by_callers(telling),
        **listener(os.environ.get("upstream_url", "http://127.0.0.1:5000")),
        access_log=False,
        proxy_headers=False,
        log_level="warning",
        http=joining(AutoHTTPProtocol),
        server_header=False,
        date_header=False,
        timeout_keep_alive=30,
    )


if __name__ == "__main__":
    check() if "--check" in sys.argv else serve()
