"""What the supervisor holds for the whole family: the locks on its folders, and every listening socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from hilbert.core.settings import Settings
from hilbert.server import folders, log_keeper, sockets
from hilbert.server.handover import Handover


class Held:
    """Locks and sockets. They outlive each child, and are handed to the next supervisor by a rolling restart."""

    def __init__(
        self,
        *,
        locks: Sequence[int],
        public: list[socket.socket],
        metrics: socket.socket,
        control: socket.socket,
        feed: socket.socket,
        logs: socket.socket,
    ) -> None:
        self.locks = locks
        self.public = public
        """One for each worker, all on the gateway's port."""
        self.metrics = metrics
        self.control = control
        self.feed = feed
        self.logs = logs

    @classmethod
    def open(cls, settings: Settings) -> Held:
        """Prepare the folders and open all. Raises `PortTaken`, `InvalidSettings`, `StorageFull`, `AlreadyRunning`."""
        gateway, run = settings.gateway, Path(settings.paths.run_dir)
        folders.prepare(settings.paths)
        locks = folders.lock_both(settings.paths)
        count = gateway.workers or min(os.cpu_count() or 1, 8)
        return cls(
            locks=locks,
            public=sockets.listen_tcp(gateway.host, gateway.port, count=count, setting="gateway.port"),
            metrics=sockets.listen_tcp(
                gateway.metrics_host, gateway.metrics_port, count=1, setting="gateway.metrics_port"
            )[0],
            control=sockets.listen_unix(run / "control.sock"),
            feed=sockets.listen_unix(run / "feed.sock"),
            logs=sockets.listen_unix(run / log_keeper.SOCKET),
        )

    @classmethod
    def take(cls, taken: Handover) -> Held:
        """All of it from the supervisor before."""
        return cls(
            locks=taken.lock_fds,
            public=[socket.socket(fileno=descriptor) for descriptor in taken.public_fds],
            metrics=socket.socket(fileno=taken.metrics_fd),
            control=socket.socket(fileno=taken.control_fd),
            feed=socket.socket(fileno=taken.feed_fd),
            logs=socket.socket(fileno=taken.logs_fd),
        )

    @property
    def url(self) -> str:
        return sockets.url_of(self.public[0])

    @property
    def metrics_url(self) -> str:
        return sockets.url_of(self.metrics)

    def close(self, run: Path) -> None:
        """Remove the sockets' files in `run`, close all, and give the locks back."""
        for name in ("control.sock", "feed.sock", log_keeper.SOCKET):
            (run / name).unlink(missing_ok=True)
        for sock in (*self.public, self.metrics, self.control, self.feed, self.logs):
            sock.close()
        for lock in self.locks:
            os.close(lock)
