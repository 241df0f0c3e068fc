"""Calls of Python handlers that use Flask, or werkzeug below it, as under OpenFaaS's python3-http template.

There the handler runs inside a view of a Flask application, so `request`, `abort`, `jsonify` and `Response` work in it. Here it
does so only if it has imported them: nothing of Flask is loaded for others.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hilbert.watchdog.answer import Answer, to_answer

if TYPE_CHECKING:
    from hilbert.watchdog.event import Event

_APPLICATION = "index"
"""`current_app.name` under the template."""


def in_use() -> bool:
    """Whether the handler has imported Flask or werkzeug."""
    return "werkzeug" in sys.modules


class FlaskCalls:
    """One for the life of a replica; to be made when `in_use`."""

    def __init__(self) -> None:
        from werkzeug.exceptions import HTTPException
        from werkzeug.wrappers import Response

        self._exception: type[Any] = HTTPException
        self._response: type[Any] = Response
        self._app: Any = None
        if "flask" in sys.modules:
            import flask

            self._app = flask.Flask(_APPLICATION)

    @contextlib.contextmanager
    def request(self, event: Event, raw_query: bytes) -> Iterator[None]:
        """The surroundings of one call: Flask's request context, where Flask is there."""
        if self._app is None:
            yield
            return
        with self._app.request_context(_environ(event, raw_query)):
            yield

    def to_answer(self, value: object) -> Answer:
        """As `answer.to_answer`, and for responses of Flask or werkzeug, alone or first in a tuple. Inside `request`."""
        if isinstance(value, tuple) and value and isinstance(value[0], self._response) and self._app is not None:
            value = self._app.make_response(value)
        if not isinstance(value, self._response):
            return to_answer(value)
        response: Any = value
        if self._app is not None:
            response = self._app.process_response(response)
        headers = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in response.headers]
        length = {b"content-length", b"transfer-encoding", b"connection"}
        given = [(name, text) for name, text in headers if name.lower() not in length]
        body = _stream(response) if response.is_streamed else b"".join(response.iter_encoded())
        return Answer(response.status_code, given, body)

    def refusal(self, error: BaseException) -> Answer | None:
        """The answer that an HTTP exception stands for; None for any other."""
        return self.to_answer(error.get_response()) if isinstance(error, self._exception) else None


def _stream(response: Any) -> Iterator[bytes]:
    try:
        yield from response.iter_encoded()
    finally:
        response.close()


def _address(peer: str) -> str:
    """The address in `192.0.2.1:80` or `[2001:db8::1]:80`, as the gateway gives it."""
    first = peer.partition(",")[0].strip()
    if first.startswith("["):
        return first[1:].partition("]")[0]
    return first.partition(":")[0] if first.count(":") == 1 else first


def _environ(event: Event, raw_query: bytes) -> dict[str, Any]:
    """The call as WSGI has it (PEP 3333)."""
    host, _, port = event.headers.get("Host", "localhost").partition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": event.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": event.path.encode("utf-8", "replace").decode("latin-1"),
        "QUERY_STRING": raw_query.decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": port or "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": _address(event.headers.get("X-Forwarded-For", "127.0.0.1")),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": event.headers.get("X-Forwarded-Proto", "http"),
        "wsgi.input": io.BytesIO(event.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "CONTENT_LENGTH": str(len(event.body)),
    }
    for name, value in event.headers:
        key = name.upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = value
        elif key not in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
            environ[f"HTTP_{key}"] = value
    return environ
