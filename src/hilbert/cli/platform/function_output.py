"""What functions write, shown while something else goes on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from hilbert.cli.terminal.output import harmless, out
from hilbert.core.errors import HilbertError

if TYPE_CHECKING:
    from hilbert.client import Client

_AGAIN: Final = 1.0
"""Seconds until the next try after a stream has ended: the function or the gateway was away."""

_REPEATED: Final = 256
"""Lines that may be told again by the next stream, whose beginning is not exact to the nanosecond."""


class FunctionOutput:
    """Shows new lines of some functions, as `NAME | TEXT`, for as long as the command runs.

    Each function has a thread of its own, which nobody waits for.
    """

    def __init__(self, connect: Callable[[], Client], *, show: Callable[[str], None] = out) -> None:
        self._connect = connect
        self._show = show
        self._followed: set[tuple[str, str]] = set()

    def follow(self, functions: Collection[tuple[str, str]]) -> None:
        """Show these as well: (name, namespace) of each, the namespace empty for the gateway's default."""
        for one in functions:
            if one not in self._followed:
                self._followed.add(one)
                threading.Thread(target=self._follow, args=one, name=f"output of {one[0]}", daemon=True).start()

    def _follow(self, name: str, namespace: str) -> None:
        since = datetime.now(UTC)
        shown: deque[tuple[str, str, str]] = deque(maxlen=_REPEATED)
        pause = threading.Event()
        while True:
            try:
                with self._connect() as client:
                    for message in client.logs(name, namespace, since=since, follow=True):
                        key = (message.instance, message.timestamp, message.text)
                        if key in shown:
                            continue
                        shown.append(key)
                        since = _moment(message.timestamp) or since
                        self._show(harmless(f"{name} | {message.text.rstrip()}"))
            except HilbertError:
                pass  # What is wrong with the gateway or the function is said by what the command itself does.
            pause.wait(_AGAIN)


def _moment(timestamp: str) -> datetime | None:
    try:
        return datetime.fromisoformat(timestamp)
    except ValueError:
        return None
