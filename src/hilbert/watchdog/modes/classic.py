"""Mode `classic`: as OpenFaaS's classic watchdog answers and logs, which the published images without a mode rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hilbert.watchdog.call import TEXT, Call, Whole, Work
from hilbert.watchdog.event import canonical
from hilbert.watchdog.fork import Forker
from hilbert.watchdog.modes.serializing import Collected
from hilbert.watchdog.modes.streaming import describe_exit
from hilbert.watchdog.sniff import content_type

if TYPE_CHECKING:
    from hilbert.watchdog.config import Config
    from hilbert.watchdog.logs import Log

_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


class Classic:
    """Calls of a command, answered once it has ended."""

    ready = True

    def __init__(self, config: Config, forker: Forker, log: Log) -> None:
        self._config = config
        self._forker = forker
        self._log = log

    def accept(self, call: Call) -> Work:
        return Whole(call, self._config.buffer_limit, lambda body: self._begin(call, body))

    def close(self, *, at_once: bool) -> None:  # noqa: ARG002 - a call that is over leaves nothing to be polite to
        self._forker.close()

    def _begin(self, call: Call, body: bytes) -> Work:
        config = self._config
        if call.method not in _METHODS:
            call.answer(405, [], b"")
            return _Nothing()
        if call.method == "GET":
            body = b""
        if config.marshal_request:
            body = _marshal(call, body)
        self._log.line("Forking fprocess.", call=call.id)
        return _Classic(
            call, self._forker, self._log, body, self._finish, limit=config.buffer_limit, combine=config.combine_output
        )

    def _finish(self, call: Call, status: int, output: bytes) -> None:
        if status:
            text = describe_exit(status)
            self._log.line(text, call=call.id)
            call.answer(500, [TEXT], f"{text}\n".encode() + output)
            return
        kind = self._content_type(call, output)
        call.answer(200, [(b"Content-Type", kind)] if kind else [], output)
        self._log.line(f"Wrote {len(output)} Bytes - Duration: {call.seconds:.6f}s", call=call.id)
        if self._config.write_debug:
            self._log.lines(output.split(b"\n"), call=call.id)

    def _content_type(self, call: Call, output: bytes) -> bytes:
        """The forced type, else the request's, else one found in the content; empty for an empty answer."""
        given = self._config.content_type.encode() or call.header(b"content-type")
        return given or (content_type(output) if output else b"")


class _Classic(Collected):
    def on_stop(self, *, timeout: bool) -> None:
        super().on_stop(timeout=timeout)
        if timeout:
            self._call.answer(408, [TEXT], b"Killed process.\n")


class _Nothing:
    def on_body(self, data: bytes) -> None: ...

    def on_body_end(self) -> None: ...

    def on_drain(self) -> None: ...

    def on_stop(self, *, timeout: bool) -> None: ...


def _marshal(call: Call, body: bytes) -> bytes:
    """The request as JSON: `{"header": {NAME: [VALUE, ...]}, "body": {"raw": BASE64}}`, without Host."""
    import json
    from base64 import b64encode

    headers: dict[str, list[str]] = {}
    for name, value in call.request.headers:
        if name.lower() != b"host":
            headers.setdefault(canonical(name.decode("latin-1")), []).append(value.rstrip(b" \t").decode("latin-1"))
    request = {"header": dict(sorted(headers.items())), "body": {"raw": b64encode(body).decode()}}
    return json.dumps(request, separators=(",", ":")).encode()
