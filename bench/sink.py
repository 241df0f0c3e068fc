"""An upstream that reads request bodies and answers with their length: `python bench/sink.py SOCKET`."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from hilbert.kit.http1 import Headers, Limits, Request, Responder, ServerConnection, TimerWheel


class Swallow:
    def __init__(self, _request: Request, responder: Responder) -> None:
        self._responder = responder
        self._bytes = 0

    def on_body(self, data: bytes) -> None:
        self._bytes += len(data)

    def on_body_end(self, _trailers: Headers) -> None:
        body = b"%d" % self._bytes
        self._responder.start(200, [], length=len(body))
        self._responder.write(body)
        self._responder.end()

    def on_abort(self) -> None:
        pass

    def on_drain(self) -> None:
        pass


async def serve(path: str) -> None:
    wheel = TimerWheel()
    limits = Limits(keep_alive=600)
    server = await asyncio.get_running_loop().create_unix_server(lambda: ServerConnection(Swallow, limits, wheel), path)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
