"""Mode `streaming`: one process per request, its output sent as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hilbert.watchdog.fork import Forker, Process

if TYPE_CHECKING:
    from hilbert.watchdog.call import Call, Work
    from hilbert.watchdog.config import Config
    from hilbert.watchdog.logs import Log

_DEFAULT_TYPE = "application/octet-stream"


class Streaming:
    """Calls of a command. The status is 200 from the first byte of output, whatever becomes of the process."""

    ready = True

    def __init__(self, config: Config, forker: Forker, log: Log) -> None:
        self._forker = forker
        self._log = log
        self._headers = [(b"Content-Type", (config.content_type or _DEFAULT_TYPE).encode())]

    def accept(self, call: Call) -> Work:
        return _Streamed(call, self._forker, self._log, self._headers)

    def close(self, *, at_once: bool) -> None:  # noqa: ARG002 - a call that is over leaves nothing to be polite to
        self._forker.close()


class _Streamed:
    def __init__(self, call: Call, forker: Forker, log: Log, headers: list[tuple[bytes, bytes]]) -> None:
        self._call = call
        self._log = log
        self._headers = headers
        self._process: Process | None = None
        try:
            self._process = forker.start(call, self, body=call.request.length != 0)
        except OSError as exc:
            refuse_start(call, log, exc)

    # The request

    def on_body(self, data: bytes) -> None:
        if self._process is not None and not self._process.feed(data):
            self._call.pause_body()

    def on_body_end(self) -> None:
        if self._process is not None:
            self._process.feed_end()

    def on_drain(self) -> None:
        if self._process is not None:
            self._process.resume()

    def on_stop(self, *, timeout: bool) -> None:
        if self._process is not None:
            self._process.stop()
        if timeout:
            self._log.line(f"Killed the process after {self._call.seconds:.3f}s: its time is up", call=self._call.id)

    # The process

    def on_output(self, data: bytes) -> None:
        if not self._call.started:
            self._call.start(200, self._headers)
        if not self._call.write(data) and self._process is not None:
            self._process.pause()

    def on_room(self) -> None:
        self._call.resume_body()

    def on_exit(self, status: int) -> None:
        if status:
            self._log.line(describe_exit(status), call=self._call.id)
        if self._call.started and status < 0:
            self._call.abort()  # Killed in the middle of its output.
        elif self._call.started:
            self._call.end()
        elif status:
            self._call.fail(500, describe_exit(status))
        else:
            self._call.answer(200, self._headers, b"")


def refuse_start(call: Call, log: Log, error: OSError) -> None:
    """Answer a call whose process could not be started."""
    log.line(f"Cannot start the process: {error.strerror}", call=call.id)
    call.fail(500, "The function's process could not be started; its log says why.")


def describe_exit(status: int) -> str:
    """As Go prints it: `exit status 1`, `signal: killed`."""
    if status >= 0:
        return f"exit status {status}"
    import signal

    return f"signal: {(signal.strsignal(-status) or str(-status)).lower()}"
