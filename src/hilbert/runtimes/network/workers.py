"""In the keeper: the data plane's workers, and handing on to them the connections that functions make to `gateway`."""

from __future__ import annotations

import contextlib
import selectors
import socket
from pathlib import Path

from hilbert.kit import handover


class Workers:
    """Who takes calls from inside. Connections go round them; while there is none, they wait in the kernel's queue."""

    def __init__(self, path: Path, selector: selectors.BaseSelector) -> None:
        """Listen at `path`. Raises `OSError`."""
        self._selector = selector
        self._listener = handover.listen(path)
        self._present: list[socket.socket] = []
        self._next = 0
        selector.register(self._listener, selectors.EVENT_READ, self._join)

    def hand_on(self, connection: socket.socket, namespace: str) -> bool:
        """Give the connection to a worker and close it here. False: there is none that can take it now."""
        message = namespace.encode()
        for _ in range(len(self._present)):
            self._next = (self._next + 1) % len(self._present)
            with contextlib.suppress(OSError):  # It has gone, or is busy with more than it takes: the next one.
                handover.send(self._present[self._next], message, [connection.fileno()])
                connection.close()
                return True
        return False

    @property
    def any(self) -> bool:
        return bool(self._present)

    def _join(self) -> None:
        with contextlib.suppress(OSError):
            worker, _ = self._listener.accept()
            worker.setblocking(False)
            self._present.append(worker)
            self._selector.register(worker, selectors.EVENT_READ, lambda: self._leave(worker))

    def _leave(self, worker: socket.socket) -> None:
        """It says nothing, so what there is to read is its end."""
        with contextlib.suppress(BlockingIOError):
            self._selector.unregister(worker)
            self._present.remove(worker)
            worker.close()
