"""Mode `python`: `handle(event, context)` in the watchdog's own process.

A plain function runs on the thread of the event loop while its calls are short, and on threads of their own when they are not
(`leading.py`), so that one that blocks holds up neither health checks nor other calls. An `async` one runs on the event loop,
which is asyncio's then.
"""

from __future__ import annotations

import sys
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from hilbert.watchdog.answer import Answer, AnswerError, to_answer, to_chunk
from hilbert.watchdog.call import Call, Whole, Work
from hilbert.watchdog.event import Context, EnvironHeaders, Event
from hilbert.watchdog.flask_calls import FlaskCalls
from hilbert.watchdog.flask_calls import in_use as flask_in_use
from hilbert.watchdog.leading import Crew
from hilbert.watchdog.printed import SPEAKER, Speaker

if TYPE_CHECKING:
    import asyncio

    from hilbert.kit.epoll.loop import EpollLoop
    from hilbert.watchdog.config import Config
    from hilbert.watchdog.leading import Job

THREADS: Final = 64
"""Most plain handlers at once; further calls wait for a thread."""

_FAILED: Final = "The function failed; its log says why."


class _Handler:
    """A loaded handler, and what its calls share."""

    ready = True

    def __init__(self, config: Config, handle: Callable[[Any, Any], Any], *, hostname: str) -> None:
        self._config = config
        self._handle = handle
        self._context = Context(hostname=hostname, name=config.name, namespace=config.namespace)
        self._flask = FlaskCalls() if flask_in_use() else None

    def accept(self, call: Call) -> Work:
        return Whole(call, self._config.buffer_limit, lambda body: self._begin(call, body))

    def close(self, *, at_once: bool) -> None:
        """Handlers cannot be stopped; the end of the process ends them."""

    @abstractmethod
    def _begin(self, call: Call, body: bytes) -> Work: ...


class Python(_Handler):
    """Calls of one loaded handler."""

    def __init__(self, config: Config, loop: EpollLoop, handle: Callable[[Any, Any], Any], *, hostname: str) -> None:
        super().__init__(config, handle, hostname=hostname)
        self._loop = loop
        self._crew = Crew(loop, THREADS)

    def run(self) -> None:
        """Run the loop until it is stopped. Raises `RuntimeError` when no thread can be started."""
        self._crew.run()

    def _begin(self, call: Call, body: bytes) -> Work:
        event = _event(call, body)
        plain = _Plain(call, self._loop, self._crew, lambda: self._answer(event, call.raw_query))
        self._crew.submit(plain)
        return plain

    def _answer(self, event: Event, raw_query: bytes) -> Answer:
        if self._flask is None:
            return to_answer(self._returned(event))
        with self._flask.request(event, raw_query):
            try:
                return self._flask.to_answer(self._returned(event))
            except Exception as exc:
                refusal = self._flask.refusal(exc)
                if refusal is None:
                    raise
                return refusal

    def _returned(self, event: Event) -> object:
        result = self._handle(event, self._context)
        if hasattr(result, "__await__"):
            raise AnswerError("handle returned something to await; make handle itself async")
        return result


class PythonAsync(_Handler):
    """Calls of one loaded `async` handler, on the running loop of asyncio."""

    def __init__(self, config: Config, handle: Callable[[Any, Any], Any], *, hostname: str) -> None:
        import asyncio

        super().__init__(config, handle, hostname=hostname)
        self.cancelled = asyncio.CancelledError
        self._create_task = asyncio.get_running_loop().create_task

    def _begin(self, call: Call, body: bytes) -> Work:
        work = _Task(call, self)
        work.task = self._create_task(work.run(_event(call, body)))
        return work

    async def answer(self, event: Event, raw_query: bytes) -> Answer:
        """In the call's task."""
        if self._flask is None:
            result = self._handle(event, self._context)
            if type(result) is not CoroutineType and isinstance(result, AsyncIterator):
                return to_answer(result)
            return to_answer(await result)
        with self._flask.request(event, raw_query):
            try:
                result = self._handle(event, self._context)
                return self._flask.to_answer(result if isinstance(result, AsyncIterator) else await result)
            except Exception as exc:
                refusal = self._flask.refusal(exc)
                if refusal is None:
                    raise
                return refusal


def _event(call: Call, body: bytes) -> Event:
    path = call.raw_path
    if b"%" in path:
        from urllib.parse import unquote_to_bytes

        path = unquote_to_bytes(path)
    return Event(
        method=call.method,
        path=path.decode("utf-8", "replace"),
        raw_query=call.raw_query.decode("latin-1"),
        headers=EnvironHeaders(call.request.headers),
        body=body,
    )


class _Plain:
    """One call of a plain handler. The thread on which it runs produces; the loop sends."""

    def __init__(self, call: Call, loop: EpollLoop, crew: Crew, make: Callable[[], Answer]) -> None:
        self._call = call
        self._loop = loop
        self._crew = crew
        self._make = make
        self._room: threading.Event | None = None
        self._stopped = False
        self._written_off = False
        self._returned = False
        self._lock = threading.Lock()
        self._speaker = Speaker(call.request.headers)

    # On the thread

    def run(self, resign: Callable[[Job], None]) -> Callable[[], None]:
        """See `Job`."""
        call = self._call
        SPEAKER.set(self._speaker)
        try:
            if self._stopped:
                return call.end
            answer = self._make()
            body = answer.body
            if isinstance(body, bytes):
                return lambda: call.answer(answer.status, answer.headers, body)
            if not isinstance(body, Iterator):
                raise AnswerError("an asynchronous iterator needs an async handler")
            SPEAKER.set(None)  # The thread that may be started for the loop is not this call's.
            resign(self)
            SPEAKER.set(self._speaker)
            self._stream(answer, body)
        except BaseException:  # noqa: BLE001 - the request's boundary: user code may raise anything, SystemExit too
            report_failure()
            return lambda: call.fail(500, _FAILED)
        else:
            return call.end
        finally:
            self._speaker.finish()
            SPEAKER.set(None)
            with self._lock:
                self._returned = True
                if self._written_off:
                    self._crew.regain()

    def _stream(self, answer: Answer, body: Iterator[Any]) -> None:
        self._room = threading.Event()
        self._room.set()
        try:
            self._post(self._call.start, answer.status, answer.headers)
            for item in body:
                if self._stopped:
                    return
                self._post(self._send, to_chunk(item))
                self._room.wait()
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()

    def _post(self, callback: Callable[..., Any], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            self._stopped = True  # The loop has ended before the handler.

    # On the loop

    def _send(self, data: bytes) -> None:
        if not self._call.write(data) and self._room is not None:
            self._room.clear()

    def on_body(self, data: bytes) -> None: ...

    def on_body_end(self) -> None: ...

    def on_drain(self) -> None:
        if self._room is not None:
            self._room.set()

    def on_stop(self, *, timeout: bool) -> None:
        self._stopped = True
        self.on_drain()
        with self._lock:
            if not self._returned:
                self._written_off = True
                self._crew.write_off()
        if timeout:
            token = SPEAKER.set(self._speaker)
            print("The handler has overrun its time; its thread keeps running until it returns.", file=sys.stderr)  # noqa: T201
            SPEAKER.reset(token)


class _Task:
    """One call as a task of asyncio's."""

    def __init__(self, call: Call, of: PythonAsync) -> None:
        self._call = call
        self._of = of
        self._room: asyncio.Event | None = None
        """Set once there is room again; None while there is."""
        self.task: asyncio.Task[None] | None = None

    async def run(self, event: Event) -> None:
        speaker = Speaker(self._call.request.headers)
        SPEAKER.set(speaker)  # In the task's own context.
        try:
            answer = await self._of.answer(event, self._call.raw_query)
            if isinstance(answer.body, bytes):
                self._call.answer(answer.status, answer.headers, answer.body)
                return
            self._call.start(answer.status, answer.headers)
            if isinstance(answer.body, Iterator):
                for item in answer.body:
                    await self._send(to_chunk(item))
            else:
                async for item in answer.body:
                    await self._send(to_chunk(item))
            self._call.end()
        except self._of.cancelled:
            if not self._call.over:  # The handler's own doing, not ours.
                self._call.fail(500, _FAILED)
            raise
        except BaseException:  # noqa: BLE001 - the request's boundary: user code may raise anything, SystemExit too
            report_failure()
            self._call.fail(500, _FAILED)
        finally:
            speaker.finish()

    async def _send(self, data: bytes) -> None:
        import asyncio

        if not self._call.write(data):
            self._room = asyncio.Event()
            await self._room.wait()

    def on_body(self, data: bytes) -> None: ...

    def on_body_end(self) -> None: ...

    def on_drain(self) -> None:
        if self._room is not None:
            self._room.set()

    def on_stop(self, *, timeout: bool) -> None:  # noqa: ARG002 - part of `Work`
        if self.task is not None:
            self.task.cancel()


def report_failure() -> None:
    """The traceback of the exception being handled, to the log, without the watchdog's own frames."""
    import traceback

    kind, error, trace = sys.exc_info()
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.stderr.write("".join(traceback.format_exception(kind, error, trace)))
    sys.stderr.flush()
