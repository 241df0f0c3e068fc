"""What can be made to go wrong, on demand."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kubernetes_double.serving.status import ApiError, expired, throttled

if TYPE_CHECKING:
    from kubernetes_double.serving.watching import Watch
    from kubernetes_double.storage.store import Store


@dataclass
class Fault:
    """An answer that takes the place of the true one, for the next `times` requests that match."""

    code: int
    times: int
    method: str = ""
    path: str = ""
    retry_after: int = 1
    message: str = ""
    after: bool = False
    """Do the work first, then answer with the fault: the client cannot know."""

    def matches(self, method: str, path: str) -> bool:
        return self.times != 0 and (not self.method or self.method == method) and bool(re.search(self.path, path))

    def error(self) -> ApiError:
        if self.code == 429:
            return throttled(self.retry_after)
        reasons = {
            500: "InternalError",
            503: "ServiceUnavailable",
            504: "Timeout",
            401: "Unauthorized",
            403: "Forbidden",
        }
        return ApiError(self.code, self.message or f"fault: {self.code}", reason=reasons.get(self.code))


@dataclass
class Chaos:
    """Knobs; all off to begin with. Watch knobs hold for all open and future watches."""

    store: Store
    drop: int = 0
    """So many of the next watch events are lost."""
    duplicate: bool = False
    """Every watch event comes twice."""
    reorder: int = 0
    """Watch events are held back until there are so many, then come in reverse order."""
    delay: float = 0.0
    """Seconds by which each watch event comes late."""
    latency: float = 0.0
    """Seconds before each request is answered."""
    mute: bool = False
    """Watches stay open and say nothing; what happens meanwhile is lost to them."""
    bookmark_seconds: float = 60.0
    reject_tokens: bool = False
    """Every token counts as expired: 401."""
    oldest: int = 0
    watches: set[Watch] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    _held: dict[int, list[bytes]] = field(default_factory=dict)

    def fail(
        self,
        code: int,
        *,
        times: int = 1,
        method: str = "",
        path: str = "",
        message: str = "",
        retry_after: int = 1,
        after: bool = False,
    ) -> Fault:
        """The next `times` matching requests (-1: until removed from `faults`) are answered with `code`.

        `path` is a regular expression that is searched. With `after` the request takes effect nevertheless.
        """
        fault = Fault(code, times, method, path, retry_after, message=message, after=after)
        self.faults.append(fault)
        return fault

    def throttle(self, *, times: int = 1, seconds: int = 1, path: str = "") -> Fault:
        """429 with Retry-After."""
        return self.fail(429, times=times, retry_after=seconds, path=path)

    def next_fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.matches(method, path):
                if fault.times > 0:
                    fault.times -= 1
                return fault
        return None

    def close_watches(self) -> None:
        """End every open watch cleanly."""
        for watch in tuple(self.watches):
            watch.end()

    def expire_watches(self) -> None:
        """End every open watch with 410, and answer 410 to those that come back with a version of before."""
        self.forget()
        error = expired(f"too old resource version: {self.store.version - 1} ({self.store.version})").status
        for watch in tuple(self.watches):
            watch.end(error=error)

    def forget(self) -> None:
        """Compact the history: older versions and tokens of pages answer 410 from now on."""
        self.store.compact()
        self.oldest = self.store.version

    def is_too_old(self, version: int) -> bool:
        return version < self.oldest

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Lose all watch events inside the block."""
        self.mute = True
        try:
            yield
        finally:
            self.mute = False

    def pass_event(self, watch: Watch, line: bytes, push: Callable[[bytes], None]) -> None:
        if self.mute:
            return
        if self.drop > 0:
            self.drop -= 1
            return
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, push, line)
            return
        if self.reorder > 1:
            held = self._held.setdefault(id(watch), [])
            held.append(line)
            if len(held) >= self.reorder:
                for late in reversed(held):
                    push(late)
                held.clear()
            return
        push(line)
        if self.duplicate:
            push(line)

    def release(self) -> None:
        """Stop re-ordering and let go of what is held back."""
        self.reorder = 0
        for watch in self.watches:
            for line in reversed(self._held.pop(id(watch), [])):
                watch.push(line)
        self._held.clear()
