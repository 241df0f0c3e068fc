"""What clients of a queue were told while processes were killed, against what the queue holds in the end.

In the spirit of Jepsen (https://jepsen.io): the history is kept outside of what is tested, and the verdict is a pure
function of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hilbert.core.ports.queue import CallRecord, CallState

ENDS: Final = frozenset({CallState.SUCCEEDED, CallState.DEAD})
"""What may become of a call that nobody cancels, of a function that is not removed."""
BROKEN_OFF: Final = ("the last one did not end", "the function was not reached")
"""In the reason of a dead letter whose last attempt a kill has used up: of the gateway, or of what it called."""


@dataclass(frozen=True)
class Acknowledged:
    """A client was told 202."""

    id: str
    answer: bytes
    """What only the function could have answered to this request."""
    end: CallState
    """What has to become of it."""
    once: bool
    """The request had an idempotency key and was repeated until it was acknowledged."""


@dataclass
class Verdict:
    """Lines under `wrong` are broken promises."""

    wrong: list[str] = field(default_factory=list)
    again: int = 0
    """Calls with more attempts than they needed."""
    attempts: int = 0
    """How many more, in all. Each is explained by a kill while the call was open."""
    unknown: int = 0
    """Dead letters whose last attempt was broken off: what the function has done of it, nobody can know."""
    unheard: int = 0
    """Calls that are there and that nobody was told of: the answer was lost."""


def verdict(
    told: Sequence[Acknowledged],
    records: Mapping[str, tuple[CallRecord, bytes]],
    kills: Sequence[float],
    *,
    needed: Mapping[str, int],
    slack: float,
) -> Verdict:
    """Judge a history.

    `records` are the queue's calls with the function's last answers. `kills` are Unix times at which processes that
    have to do with calls were killed, and `slack` the seconds for which such a kill can be felt. `needed` is the number
    of attempts that each function's calls need.
    """
    found = Verdict()

    def felt(record: CallRecord) -> int:
        return sum(record.put_at - slack <= kill <= record.finished_at for kill in kills)

    for call in told:
        if call.id not in records:
            found.wrong.append(f"{call.id} was acknowledged and is lost")
            continue
        record, answer = records[call.id]
        if record.state not in ENDS:
            found.wrong.append(f"{call.id} was acknowledged and is {record.state} in the end")
        elif record.state is not call.end:
            found.wrong.append(f"{call.id} is {record.state}, not {call.end}: {record.reason}")
        elif record.state is CallState.DEAD and any(words in record.reason for words in BROKEN_OFF) and felt(record):
            found.unknown += 1
        elif answer != call.answer:
            found.wrong.append(f"{call.id} has ended without a run of the function: {answer[:80]!r}, {record}")
    answers = Counter(answer for _, answer in records.values())
    for call in told:
        if call.once and answers[call.answer] > 1:
            found.wrong.append(f"{call.id} was queued {answers[call.answer]} times in spite of its key")
    for record, _ in records.values():
        more = record.attempts - needed[record.ref.name]
        if more <= 0:
            continue
        found.again += 1
        found.attempts += more
        if more > felt(record):
            found.wrong.append(f"{record.id} has {more} attempts too many, and only {felt(record)} kills explain them")
    found.unheard = len(records.keys() - {call.id for call in told})
    return found
