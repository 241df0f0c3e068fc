"""Loads that a Prometheus server has measured, and answers that it should not give."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from hilbert.control.scaling.prometheus import MOST, Prometheus
from hilbert.core.errors import BackendUnavailable
from hilbert.core.values import FunctionRef

Serve = Callable[[bytes], Prometheus]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that answers everything with one body."""
    servers: list[tuple[HTTPServer, threading.Thread]] = []

    def begin(body: bytes) -> Prometheus:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    return  # It was too much for who asked.

            def log_message(self, *_: object) -> None:
                return

        server = HTTPServer(("127.0.0.1", 0), Answer)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return Prometheus(f"http://127.0.0.1:{server.server_port}/")

    yield begin
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_loads_by_function_and_nothing_else(serve: Serve) -> None:
    """A series that names no function, or whose value is none, is somebody else's."""
    samples = b",".join(
        b'{"metric": {"function_name": "%b"}, "value": [1, "%b"]}' % one
        for one in ((b"f.dev", b"2.5"), (b"../f", b"1"), (b"g.dev", b"many"), (b"", b"1"))
    )
    found = await serve(b'{"data": {"result": [%b]}}' % samples).load("mine")
    assert found == {FunctionRef("dev", "f"): 2.5}  # type: ignore[arg-type]


@pytest.mark.bound("measured-loads")
async def test_an_answer_beyond_the_bound_is_none(serve: Serve) -> None:
    answer = b'{"data": {"result": []}}'
    assert await serve(answer.ljust(MOST)).load("mine") == {}
    with pytest.raises(BackendUnavailable, match="more than 16 MiB"):
        await serve(answer.ljust(MOST + 1)).load("mine")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data": {"result": [{"metric": 1}]}}', b"\xff"])
async def test_answers_that_cannot_be_read(body: bytes, serve: Serve) -> None:
    with pytest.raises(BackendUnavailable, match="gave no answer"):
        await serve(body).load("mine")
