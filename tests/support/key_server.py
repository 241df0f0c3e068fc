"""What a gateway says of its keys, over HTTP, for watchdogs that fetch them."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class KeyServer:
    """Answers from `documents`, by path; 404 for others."""

    def __init__(self, issuer: str, keys: list[dict[str, Any]]) -> None:
        self.asked: list[str] = []
        self.documents: dict[str, bytes] = {
            "/.well-known/openid-configuration": json.dumps(
                {"issuer": issuer, "jwks_uri": f"{issuer}/.well-known/jwks.json"}
            ).encode(),
            "/.well-known/jwks.json": json.dumps({"keys": keys}).encode(),
        }
        self.url = ""


@contextlib.contextmanager
def serving_keys(issuer: str, keys: list[dict[str, Any]], *, sock: socket.socket | None = None) -> Iterator[KeyServer]:
    """`sock` is bound, and does not listen yet; without one, the kernel picks a port."""
    found = KeyServer(issuer, keys)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            document = found.documents.get(self.path)
            self.send_response(200 if document is not None else 404)
            self.send_header("Content-Length", str(len(document or b"")))
            self.end_headers()
            self.wfile.write(document or b"")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=sock is None)
    if sock is not None:
        server.socket.close()
        server.socket = sock.dup()
        server.server_address = sock.getsockname()
        server.server_activate()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
