"""From the environment to serving calls, and from SIGTERM to the end."""

# ruff: noqa: PTH108, PTH119, PTH123
# The import of pathlib would be paid at every start.

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from hilbert.watchdog.call import access_line
from hilbert.watchdog.config import Config, ConfigError, function_environment, read_config
from hilbert.watchdog.handler import HandlerError, is_async, load_handler
from hilbert.watchdog.listening import listen
from hilbert.watchdog.logs import Log, Pump, capture_output, release_output

if TYPE_CHECKING:
    from hilbert.kit.epoll.interface import Loop
    from hilbert.kit.epoll.loop import EpollLoop
    from hilbert.watchdog.call import Call
    from hilbert.watchdog.callers import Callers
    from hilbert.watchdog.child import Child
    from hilbert.watchdog.front import Front, Mode
    from hilbert.watchdog.modes.http import Http
    from hilbert.watchdog.modes.python import Python
    from hilbert.watchdog.printed import Printed

Handle = Callable[[Any, Any], Any]

DRAIN_DELAY: Final = 0.25
"""Seconds without a call after SIGTERM before a replica ends (seam between the runtime and the watchdog)."""

_EXIT_SECONDS: Final = 5.0
"""Most time for what a handler does at the end of the process."""

_REAP_SECONDS: Final = 1.0
"""Between two looks for orphans, as process 1 of a container."""

_FAILED_START: Final = 3
"""Exit status when the function cannot be started."""


def main() -> int:
    """Run until told to stop; returns the exit status. The last line logged says why, when that is not 0."""
    for descriptor in (0, 1, 2):
        _occupy(descriptor)
    own = Log(os.dup(2), stamp=bool(os.environ.get("HILBERT_LISTEN_FD")), date=False)
    try:
        config = read_config(os.environ)
        return _Watchdog(config).run()
    except ConfigError as exc:
        own.line(f"Cannot start: {exc}")
        return _FAILED_START
    except Exception as exc:  # noqa: BLE001 - the last place to tell of a mistake of ours, stamped like every line
        own.line(f"The watchdog failed: {type(exc).__name__}: {exc}")
        import traceback

        own.lines(traceback.format_exc().encode().rstrip().split(b"\n"))
        return 1


class _Watchdog:
    """One run of the watchdog: what must be undone at its end."""

    def __init__(self, config: Config) -> None:
        inherited = config.listen_fd >= 0
        self._config = config
        self._inherited = inherited
        self._stdout, self._stderr = os.dup(1), os.dup(2)
        date = config.prefix_logs
        self._log = Log(self._stderr, stamp=inherited, date=date)
        self._pump = Pump(line_limit=config.log_line)
        self._function_out = Log(self._stdout, stamp=inherited, date=date)
        self._printed: tuple[Printed, ...] = ()
        self._mode: Mode | None = None
        self._front: Front | None = None
        self._loop: Loop | None = None
        self._lock = not inherited and not config.suppress_lock
        self._callers: Callers | None = None
        self._child: Child | None = None
        """The process of mode `http`."""
        self._status = 0
        self._last_line = ""
        self._terminated = False

    def run(self) -> int:
        config = self._config
        # As process 1 there is no default; and until calls are taken there is nothing to finish.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
        for note in config.notes:
            self._log.line(note)
        capture_output(
            self._pump, self._function_out, self._log, merge=config.mode == "python", prefix=config.prefix_logs
        )
        try:
            self._prepare()
            if config.callers_from:
                from hilbert.watchdog.callers import fetch_callers

                self._callers = fetch_callers(config.callers_from, config.namespace, config.name)
            handle = None
            if config.mode == "python":
                from hilbert.watchdog.printed import follow_pools, follow_threads, print_to

                self._printed = print_to(self._log, config.log_line)
                follow_threads()
                self._pump.start()
                handle = self._load()
                if is_async(handle):
                    import concurrent.futures.thread  # noqa: F401 - asyncio's own, which its loop would load at its first use
                follow_pools()
            self._serve(handle)
        except ConfigError as exc:
            self._flush()
            self._log.line(f"Cannot start: {exc}")
            return _FAILED_START
        finally:
            self._close()
        return self._status

    def _prepare(self) -> None:
        """Become what the function may be, and give it the environment that it may see."""
        config = self._config
        if config.setuid is not None:
            from hilbert.watchdog.privileges import PrivilegeError, become

            try:
                become(*config.setuid)
            except PrivilegeError as exc:
                raise ConfigError(str(exc)) from exc
        if config.bundle:
            try:
                os.chdir(config.bundle)
            except OSError as exc:
                raise ConfigError(f"cannot enter the bundle {config.bundle}: {exc.strerror}") from exc
        env = function_environment(os.environ, config.layers)
        for name in [name for name in os.environ if name not in env]:
            del os.environ[name]
        os.environ.update(env)

    def _load(self) -> Handle:
        """Import the handler. Its failure is the function's: the traceback goes to the log, its last line last."""
        try:
            return load_handler(self._config.handler, self._config.layers)
        except HandlerError as exc:
            raise ConfigError(str(exc)) from exc
        except BaseException as exc:  # user code: anything may come, SystemExit too
            from hilbert.watchdog.modes.python import report_failure

            report_failure()
            name = os.path.basename(self._config.handler)
            raise ConfigError(f"{name} failed while it was imported: {type(exc).__name__}: {exc}") from exc

    def _serve(self, handle: Handle | None) -> None:
        config = self._config
        try:
            listener = listen(config.listen_fd, config.port)
        except OSError as exc:
            where = f"descriptor {config.listen_fd}" if self._inherited else f"port {config.port}"
            raise ConfigError(f"cannot listen on {where}: {os.strerror(exc.errno or 0)}") from exc
        if handle is not None and is_async(handle):
            self._serve_with_asyncio(listener, handle)
            return
        if config.mode == "http":
            from hilbert.watchdog.logs import ToldLines
            from hilbert.watchdog.upstream import start_process

            self._child = start_process(config, dict(os.environ), self._pump.pipe(ToldLines(self._log)))
        from hilbert.kit.epoll.loop import EpollLoop

        loop = EpollLoop()
        loop.serve(listener, self._begin(handle, loop).connection)
        if handle is None:
            loop.run_forever()
        else:
            cast("Python", self._mode).run()

    def _serve_with_asyncio(self, listener: socket.socket, handle: Handle) -> None:
        import asyncio
        from asyncio import selector_events

        from hilbert.kit.epoll.transport import READ

        # There is no other way to say it; where the class has gone, reads are only slower.
        with contextlib.suppress(AttributeError):
            selector_events._SelectorSocketTransport.max_size = READ  # type: ignore[attr-defined]  # noqa: SLF001
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)

        async def begin() -> None:
            front = self._begin(handle, loop)
            create = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
            await create(front.connection, sock=listener, backlog=1024)

        def begun(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                loop.stop()

        # One run of the loop for both: the process may end while the server is being made, and what stops one run is
        # forgotten by the next.
        task = loop.create_task(begin())
        task.add_done_callback(begun)
        loop.run_forever()
        if task.done() and not task.cancelled():
            task.result()

    def _begin(self, handle: Handle | None, loop: Loop) -> Front:
        """Make the mode and the HTTP side; what comes from now on is answered."""
        from hilbert.watchdog.front import Front

        config = self._config
        self._loop = loop
        self._mode = mode = self._make_mode(handle, loop)
        self._pump.start()  # After a mode that starts its process, which is best done before there are threads.
        self._front = front = Front(config, mode, loop, lock=self._lock, callers=self._callers)
        if self._child is not None:
            cast("Http", mode).on_ready = front.tell_ready
        if config.mode in ("http", "streaming", "serializing"):
            front.on_finished = self._log_access
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate)
        if os.getpid() == 1 and handle is None:  # A handler's own children are the handler's to wait for.
            self._reap()
        self._announce()
        return front

    def _reap(self) -> None:
        from hilbert.watchdog.child import reap_strangers

        reap_strangers()
        if self._loop is not None:
            self._loop.call_later(_REAP_SECONDS, self._reap)

    def _make_mode(self, handle: Handle | None, loop: Loop) -> Mode:
        if handle is None and self._child is not None:
            from hilbert.watchdog.modes.http import Http

            return Http(self._config, os.environ, cast("EpollLoop", loop), self._log, self._child, self._process_gone)
        if handle is None:
            from hilbert.watchdog.modes import make_mode

            return make_mode(self._config, dict(os.environ), loop, self._log, self._pump)
        from hilbert.watchdog.modes.python import Python, PythonAsync

        hostname = os.environ.get("HOSTNAME") or os.uname().nodename
        if is_async(handle):
            return PythonAsync(self._config, handle, hostname=hostname)
        return Python(self._config, cast("EpollLoop", loop), handle, hostname=hostname)

    def _log_access(self, call: Call) -> None:
        if not call.header(b"user-agent").startswith(b"kube-probe"):
            identity = call.header(b"x-call-id").decode("latin-1") or "none" if self._config.log_call_id else ""
            line = access_line(call, identity, reason=self._config.mode == "http")
            self._log.line(line, call=call.id)

    def _announce(self) -> None:
        from hilbert.watchdog.front import lock_file

        config = self._config
        if self._inherited:
            return
        self._log.line(f'Watchdog mode: {config.mode}\tfprocess: "{config.process_text}"')
        self._log.line(
            f"Timeouts: read: {config.read_timeout:g}s write: {config.write_timeout:g}s "
            f"hard: {config.exec_timeout:g}s health: {config.drain_delay:g}s"
        )
        self._log.line(f"Listening on port: {config.port}")
        if self._lock:
            self._log.line(f"Writing lock-file to: {lock_file()}")
            with open(lock_file(), "w"):
                pass

    def _terminate(self) -> None:
        """First: end once idle. Again: end now."""
        loop, front = self._loop, self._front
        if loop is None or front is None:
            return
        if self._terminated:
            self._status = 128 + signal.SIGTERM
            loop.stop()
            return
        self._terminated = True
        config = self._config
        if self._inherited:
            front.unready()
            front.when_idle(DRAIN_DELAY, loop.stop)
            loop.call_later(config.write_timeout, self._give_up)
            return
        self._log.line(f"SIGTERM: no new connections in {config.drain_delay:g}s")
        self._remove_lock()
        front.unready()
        loop.call_later(config.drain_delay, lambda: front.when_idle(0, loop.stop))
        loop.call_later(config.drain_delay + config.write_timeout, self._give_up)

    def _process_gone(self, status: int, why: str) -> None:
        """The process that the replica is made of has ended: so does the replica, with its status.

        `why` becomes the last line of the log, behind all that the process had written.
        """
        self._status = status if status >= 0 else 128 - status
        self._last_line = why
        if self._loop is not None:
            self._loop.stop()

    def _give_up(self) -> None:
        if self._front is not None and self._loop is not None:
            self._log.line(f"Ending with {self._front.calls} calls under way: write_timeout has passed")
            self._loop.stop()

    def _remove_lock(self) -> None:
        from hilbert.watchdog.front import lock_file

        if self._lock:
            with contextlib.suppress(OSError):
                os.unlink(lock_file())

    def _close(self) -> None:
        if self._mode is not None:
            self._mode.close(at_once=self._status != 0)
        elif self._child is not None:
            self._child.kill()
        if self._front is not None:
            self._front.close()
        if self._config.mode == "python" and self._terminated and self._status == 0:
            _run_exit_functions()
        self._remove_lock()
        self._flush()
        if self._last_line:
            self._log.line(self._last_line)

    def _flush(self) -> None:
        """Write out what the function printed."""
        if not self._pump.stopped:
            for stream in self._printed:
                stream.finish()
            release_output(self._stdout, self._stderr)
            self._pump.stop()


def _run_exit_functions() -> None:
    """What the handler's code registered with `atexit`, within a bound: the process does not end the usual way.

    That way would wait for threads of handlers that never return.
    """
    import atexit
    import threading

    patience = threading.Timer(_EXIT_SECONDS, os._exit, (0,))
    patience.daemon = True
    patience.start()
    atexit._run_exitfuncs()  # noqa: SLF001 - what the interpreter itself calls
    patience.cancel()


def _occupy(descriptor: int) -> None:
    """Make sure that a standard descriptor is open, so that no pipe is mistaken for it."""
    try:
        os.fstat(descriptor)
    except OSError:
        os.open(os.devnull, os.O_RDWR)


def preload() -> None:
    """Import what a handler's replica imports before any code of the function, for a process that waits for its function."""
    import hilbert.kit.epoll.loop
    import hilbert.watchdog.front
    import hilbert.watchdog.modes.python
    import hilbert.watchdog.printed  # noqa: F401


def run_and_exit() -> None:
    """`main`, and then the end of the process without waiting for threads of the function's."""
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
