"""Takes webhook events over HTTP, and keeps them."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class EventSink:
    """What has come. `refusing`: everything is answered with 503."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.refusing = False
        self.url = ""


@contextlib.contextmanager
def taking_events() -> Iterator[EventSink]:
    found = EventSink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            refused = found.refusing
            if not refused:
                found.headers.append(dict(self.headers))
                found.bodies.append(body)
                found.events += json.loads(body)
            self.send_response(503 if refused else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
