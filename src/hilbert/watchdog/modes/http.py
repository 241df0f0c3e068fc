"""Mode `http`: a process that runs as long as the replica and speaks HTTP; its exit is the replica's."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, cast

from hilbert.kit.epoll.dial import Place, dial, places
from hilbert.kit.http1 import Pool, TimerWheel
from hilbert.kit.http1.client import ClientConnection
from hilbert.watchdog.call import Call, Whole, Work
from hilbert.watchdog.child import Child
from hilbert.watchdog.config import ConfigError
from hilbert.watchdog.modes.proxied import Proxied

if TYPE_CHECKING:
    import asyncio

    from hilbert.kit.epoll.loop import EpollLoop
    from hilbert.watchdog.config import Config
    from hilbert.watchdog.logs import Log

_IDLE_SECONDS: Final = 4.0
"""Below the 5 s after which Node closes idle connections, so that it seldom closes one that is about to be used."""

_PROBE_SECONDS: Final = (0.002, 0.05)
"""Shortest and longest pause between two looks whether the process listens."""
_PROBE_SHARE: Final = 1 / 16
"""Of the time since the start: so much of it a look may come late."""

_SAY_AFTER: Final = (2.0, 64.0)
"""Seconds without a listener after which the log says so, first and at most: doubling."""

_GRACE_SECONDS: Final = 5.0
"""Between SIGTERM and SIGKILL for the process when the replica ends."""


class Http:
    """Calls passed on to the process. Ready once it takes connections; calls that come earlier wait for that."""

    def __init__(
        self,
        config: Config,
        env: Mapping[str, str],
        loop: EpollLoop,
        log: Log,
        child: Child,
        gone: Callable[[int, str], None],
    ) -> None:
        """`child` is the process, which has just been started. Raises `ConfigError`."""
        self._config = config
        self._log = log
        self._gone = gone
        self._loop = loop
        self._wheel = TimerWheel(tick=0.5, loop=cast("asyncio.AbstractEventLoop", loop))
        scratch = env.get("TMPDIR") or "/tmp"  # noqa: S108 - as the process itself would choose
        self._address = _Address(config.upstream, scratch)
        self._pool = Pool(self._address.name, self._wheel, idle_time=_IDLE_SECONDS)
        self._early: list[Callable[[], None]] = []
        self.ready = False
        self.on_ready: Callable[[], None] = lambda: None
        """Called once calls are taken."""
        self._child = child
        self._loop.add_reader(self._child.pidfd, self._ended)
        self._began = self._loop.time()
        self._said, self._most_said = _SAY_AFTER
        self._probe()

    def accept(self, call: Call) -> Work:
        if self._config.buffer_body and call.request.length != 0:
            return Whole(call, self._config.buffer_limit, lambda body: self._begin(call, body))
        return self._begin(call, None)

    def close(self, *, at_once: bool) -> None:
        child = self._child
        if not at_once and child.reap() is None:
            child.kill(signal.SIGTERM)
            import select

            ended = select.poll()  # Unlike `select`, it takes any descriptor, also with a thousand connections open.
            ended.register(child.pidfd, select.POLLIN)
            ended.poll(_GRACE_SECONDS * 1000)
        child.kill()

    def connect(self, then: Callable[[ClientConnection | None, str], None], *, fresh: bool) -> None:
        """Hand a connection to `then`, or None and the reason; waits for the process to listen."""
        if not self.ready:
            self._early.append(lambda: self.connect(then, fresh=fresh))
            return
        known = None if fresh else self._pool.take()
        if known is not None:
            then(known, "")
        else:
            self._dial(then)

    def _begin(self, call: Call, body: bytes | None) -> Work:
        if self._address.base:
            call.request.target = self._address.base + call.request.target
        return Proxied(call, self.connect, body)

    def _dial(self, then: Callable[[ClientConnection | None, str], None]) -> None:
        made = ClientConnection(self._pool)

        def dialled(error: OSError | None) -> None:
            if error is None:
                then(made, "")
            else:
                then(None, error.strerror or str(error))

        try:
            where = self._address.places()
        except OSError as exc:
            dialled(exc)
        else:
            dial(self._loop, where, made, dialled)

    def _probe(self) -> None:
        """Look whether the process takes connections yet."""
        self._dial(self._probed)

    def _probed(self, connection: ClientConnection | None, reason: str) -> None:
        if connection is None:
            waited = self._loop.time() - self._began
            if waited >= self._said:
                self._log.line(
                    f"The function's process does not take connections at {self._config.upstream} (upstream_url) "
                    f"after {waited:.0f} s: {reason}"
                )
                self._said += min(self._said, self._most_said)
            least, most = _PROBE_SECONDS
            self._loop.call_later(min(max(waited * _PROBE_SHARE, least), most), self._probe)
            return
        self._pool.release(connection)
        self.ready = True
        early, self._early = self._early, []
        for begin in early:
            begin()
        self.on_ready()

    def _ended(self) -> None:
        pidfd = self._child.pidfd
        self._loop.remove_reader(pidfd)
        status = self._child.reap()
        if status is None:  # Not yet to be reaped: look again.
            self._loop.add_reader(pidfd, self._ended)
            return
        self.ready = False
        name = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        self._gone(status, f"The function's process has ended with {name}")


class _Address:
    """`upstream_url`, read. `unix:NAME` is a socket in the folder for temporary files.

    On a shared network, a socket file keeps two replicas out of each other's way, and strangers away from both.
    """

    def __init__(self, url: str, scratch: str) -> None:
        """Raises `ConfigError`."""
        self.base = b""
        """The path that goes before each call's."""
        self._path = ""
        if url.startswith("unix:") and len(url) > len("unix:"):
            path = url.removeprefix("unix:")
            self._path = path if path.startswith("/") else f"{scratch}/{path}"
            self.name = f"unix:{self._path}"
            return
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(url if "//" in url else f"http://{url}")
            host, port = parts.hostname, parts.port or 80
        except ValueError as exc:
            raise ConfigError(f"upstream_url {url!r} is not a URL: {exc}") from exc
        if parts.scheme != "http" or not host:
            raise ConfigError(f"upstream_url {url!r} must be like http://127.0.0.1:5000 or unix:upstream.sock")
        self.base = parts.path.rstrip("/").encode()
        self._host, self._port = host, port
        self.name = f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"

    def places(self) -> list[Place]:
        """Where to connect to. Raises `OSError`."""
        return [(socket.AF_UNIX, self._path)] if self._path else places(self._host, self._port)
