"""What came of attempts at queued calls, by function: for metrics, and for how many are done a minute."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping
from typing import Final

from hilbert.core.values import FunctionRef

WORDS: Final = ("succeeded", "failed", "retried", "dead", "lost", "callback-failed")
_SLICE: Final = 5.0
_SLICES: Final = 12


class Outcomes:
    """Counts from the start of the process. Times are in seconds of whoever asks."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        """Of all functions, also of those that are gone."""
        self._counts: dict[FunctionRef, Counter[str]] = {}
        self._recent: dict[FunctionRef, deque[tuple[int, int]]] = {}
        """Calls that have ended, by slices of time."""

    def count(self, ref: FunctionRef, word: str, now: float) -> None:
        """`word` is one of `WORDS`."""
        self.totals[word] += 1
        self._counts.setdefault(ref, Counter())[word] += 1
        if word not in ("succeeded", "failed", "dead"):
            return
        slices = self._recent.setdefault(ref, deque(maxlen=_SLICES))
        current = int(now // _SLICE)
        if slices and slices[-1][0] == current:
            slices[-1] = (current, slices[-1][1] + 1)
        else:
            slices.append((current, 1))

    def per_minute(self, ref: FunctionRef, now: float) -> int:
        """Calls of a function that have ended in the last minute."""
        oldest = int(now // _SLICE) - _SLICES
        return sum(count for slice_, count in self._recent.get(ref, ()) if slice_ > oldest)

    @property
    def functions(self) -> Mapping[FunctionRef, Mapping[str, int]]:
        return self._counts

    def keep_only(self, refs: Collection[FunctionRef]) -> None:
        """Forget functions whose queue is no longer known."""
        for ref in self._counts.keys() - set(refs):
            del self._counts[ref]
            self._recent.pop(ref, None)
