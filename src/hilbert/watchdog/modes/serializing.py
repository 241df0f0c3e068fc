"""Mode `serializing`: one process per request, input and output each whole before they are passed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hilbert.watchdog.call import INTERNAL, Call, Whole, Work
from hilbert.watchdog.fork import Forker, Process
from hilbert.watchdog.modes.streaming import describe_exit, refuse_start

if TYPE_CHECKING:
    from collections.abc import Callable

    from hilbert.watchdog.config import Config
    from hilbert.watchdog.logs import Log

_DEFAULT_TYPE = "application/octet-stream"


class Serializing:
    """Calls of a command, answered once it has ended: 200 when it exits with 0, else 500."""

    ready = True

    def __init__(self, config: Config, forker: Forker, log: Log) -> None:
        self._config = config
        self._forker = forker
        self._log = log
        self._headers = [(b"Content-Type", (config.content_type or _DEFAULT_TYPE).encode())]

    def accept(self, call: Call) -> Work:
        limit = self._config.buffer_limit
        return Whole(
            call, limit, lambda body: Collected(call, self._forker, self._log, body, self._finish, limit=limit)
        )

    def close(self, *, at_once: bool) -> None:  # noqa: ARG002 - a call that is over leaves nothing to be polite to
        self._forker.close()

    def _finish(self, call: Call, status: int, output: bytes) -> None:
        if status:
            self._log.line(describe_exit(status), call=call.id)
            call.answer(500, [*self._headers, INTERNAL], describe_exit(status).encode())
        else:
            call.answer(200, self._headers, output)


class Collected:
    """A process that gets a whole body and whose whole output is handed to `finish`."""

    def __init__(
        self,
        call: Call,
        forker: Forker,
        log: Log,
        body: bytes,
        finish: Callable[[Call, int, bytes], None],
        *,
        limit: int,
        combine: bool = False,
    ) -> None:
        """`limit` is the most output in bytes; `combine` takes standard error into it."""
        self._call = call
        self._log = log
        self._finish = finish
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._process: Process | None = None
        try:
            self._process = forker.start(call, self, body=bool(body), combine=combine)
        except OSError as exc:
            refuse_start(call, log, exc)
            return
        if body:
            self._process.feed(body)
            self._process.feed_end()

    def on_body(self, data: bytes) -> None: ...

    def on_body_end(self) -> None: ...

    def on_drain(self) -> None: ...

    def on_stop(self, *, timeout: bool) -> None:
        if self._process is not None:
            self._process.stop()
        if timeout:
            self._log.line(f"Killed the process after {self._call.seconds:.3f}s: its time is up", call=self._call.id)

    def on_output(self, data: bytes) -> None:
        self._size += len(data)
        self._parts.append(data)
        if self._size > self._limit and self._process is not None:
            self._process.stop()
            self._parts = []
            self._log.line(
                f"Killed the process: its output is over the limit of {self._limit} bytes (buffer_limit)",
                call=self._call.id,
            )
            self._call.fail(500, f"The function's output is over the limit of {self._limit} bytes (buffer_limit)")

    def on_room(self) -> None: ...

    def on_exit(self, status: int) -> None:
        self._finish(self._call, status, b"".join(self._parts))
