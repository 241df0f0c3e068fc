"""A steady, bounded load from threads, which records every call that did not succeed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator

import urllib3


class SteadyLoad:
    """Calls one URL from several threads until stopped, at most `rate` calls a second and `most` calls in all."""

    def __init__(
        self, url: str, *, threads: int = 4, rate: float = 200.0, most: int = 20_000, body: bytes | None = None
    ) -> None:
        self.url = url
        self.threads = threads
        self.rate = rate
        self.most = most
        self.body = body
        self.answers: Counter[int] = Counter()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._pool = urllib3.PoolManager(maxsize=threads, retries=False, timeout=urllib3.Timeout(30))

    @property
    def calls(self) -> int:
        return sum(self.answers.values()) + len(self.failures)

    def _work(self) -> None:
        pause = self.threads / self.rate
        while not self._stop.is_set() and self.calls < self.most:
            try:
                answer = self._pool.request("POST" if self.body is not None else "GET", self.url, body=self.body)
            except urllib3.exceptions.HTTPError as exc:
                with self._lock:
                    self.failures.append(f"{type(exc).__name__}: {exc}")
            else:
                with self._lock:
                    self.answers[answer.status] += 1
                    if answer.status >= 300:
                        self.failures.append(f"{answer.status}: {answer.data[:300]!r}")
            self._stop.wait(pause)

    @contextlib.contextmanager
    def on(self) -> Iterator[SteadyLoad]:
        """Run while the block runs, and a moment before and after."""
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(self.threads)]
        for worker in workers:
            worker.start()
        self.wait_for(20)
        try:
            yield self
            self.wait_for(20)
        finally:
            self._stop.set()
            for worker in workers:
                worker.join(60)
            self._pool.clear()

    def wait_for(self, more: int) -> None:
        """Wait until that many more calls have ended."""
        target, end = self.calls + more, time.monotonic() + 60
        while self.calls < target and time.monotonic() < end and not self._stop.is_set():
            time.sleep(0.01)
