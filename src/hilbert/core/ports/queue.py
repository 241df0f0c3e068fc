"""Calls that are made later: accepted now, kept through crashes, each brought to exactly one end.

Times are Unix seconds, given by whoever asks; a queue reads no clock. A queue knows no HTTP: `QueuedCall.body` is the
whole request in whatever form the delivery has chosen.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence, Set
from typing import Final, Protocol, runtime_checkable

import msgspec

from hilbert.core.values import FunctionRef, NamespaceName

KEPT_FOR: Final = 86_400.0
"""Seconds for which a call that has ended can be looked up, and its key is known, unless there are too many."""


class CallState(enum.StrEnum):
    """Where a queued call is in its life."""

    QUEUED = "queued"
    """Waits until it is due, or for its turn."""
    RUNNING = "running"
    """Somebody holds its lease."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The function gave its last answer, and that is an error which is not tried again."""
    CANCELLED = "cancelled"
    DEAD = "dead"
    """Given up. Kept with its request until it is redriven or purged: a dead letter."""


OPEN: Final = frozenset({CallState.QUEUED, CallState.RUNNING})
FINISHED: Final = frozenset({CallState.SUCCEEDED, CallState.FAILED, CallState.CANCELLED})
"""Ends after which the request is thrown away. `DEAD` is an end too."""


class QueuedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it is put."""

    id: str
    """The call id: unguessable, never used before."""
    ref: FunctionRef
    due: float
    """Not made before this."""
    body: bytes
    key: str = ""
    """Idempotency key, of this namespace; empty: none."""
    fingerprint: bytes = b""
    """What must be equal when the key, or the id, comes again; empty: function and body."""
    by: str = ""
    """The identity of whoever asked for it, never its credentials; empty: nobody had to say."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a call, which its holder alone may settle."""

    call: QueuedCall
    epoch: int
    """Changes whenever the lease does; an older one settles nothing."""
    attempt: int
    """From 1. Attempts that were handed back do not count."""
    put_at: float


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The function gave its last answer."""

    succeeded: bool
    reason: str = ""
    answer: bytes = b""
    """Kept until `answer_until`, to be looked up; empty: nothing is kept."""
    answer_until: float = 0.0


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """To be tried again."""

    due: float
    reason: str = ""
    counts: bool = True
    """False: the attempt was handed back before it began, and is not counted."""


class GivenUp(msgspec.Struct, frozen=True, kw_only=True):
    """Becomes a dead letter."""

    reason: str
    answer: bytes = b""
    """The last answer, kept as long as the dead letter is."""


Outcome = Finished | Again | GivenUp


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a call."""

    number: int
    """Grows with each call that is put; where a listing goes on."""
    id: str
    ref: FunctionRef
    state: CallState
    put_at: float
    due: float
    attempts: int
    size: int
    """Bytes of the request."""
    finished_at: float = 0.0
    """0 while it is open."""
    reason: str = ""
    answer: bytes = b""
    """Empty in a listing, and when none is kept."""
    by: str = ""
    """As it was put."""


class QueueCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many calls of one function there are. `accepted == queued + running + finished + dead + forgotten`, always."""

    ref: FunctionRef
    queued: int = 0
    running: int = 0
    finished: int = 0
    dead: int = 0
    forgotten: int = 0
    """Finished or dead once, and no longer kept."""
    accepted: int = 0
    size: int = 0
    """Bytes that are kept: requests of queued, running and dead ones, and answers, until `expire` forgets them."""
    next_due: float = 0.0
    """When the first open call can be leased: it is due then, or its lease ends. 0 when none is open."""


class QueueBounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be kept. Open calls and dead letters count; a bound that is reached refuses new calls."""

    function_calls: int = 100_000
    function_bytes: int = 1 << 30
    namespace_calls: int = 500_000
    namespace_bytes: int = 4 << 30
    finished: int = 100_000
    """Finished calls kept of one namespace; the oldest beyond are forgotten by `expire`."""


Bounds = Mapping[FunctionRef, QueueBounds]
"""What may be kept of some functions and their namespaces, where it is not what the queue was made with."""
NO_BOUNDS: Final[Bounds] = {}


class Queue(Protocol):
    """Accepts calls, lends each to one holder at a time, and brings each to exactly one end.

    What a method promised by returning is on the disk, or wherever else it survives the loss of power. A method that
    raises changed nothing, and may be called again. Each may be cancelled at any await; then it did all or nothing, and
    the caller does not know which, so that it must be prepared for either. Any number of gateways may use one queue.

    Errors: `StorageFull` and `BackendUnavailable` when nothing can be promised now; others are named at each method.
    """

    async def put(self, calls: Sequence[QueuedCall], *, now: float, bounds: Bounds = NO_BOUNDS) -> Sequence[str]:
        """Accept all of these calls or none; their ids, in order.

        A call with a key that its namespace knows is not accepted again: the id returned is that of the first one.
        Raises `KeyReused` when the two differ (`QueuedCall.fingerprint`), and `QueueFull` when a bound is reached. Putting a
        call again with the same id changes nothing, so a put whose answer was lost may be repeated.
        """
        ...

    async def lease(self, ref: FunctionRef, *, count: int, now: float, until: float) -> Sequence[Lease]:
        """Lend at most `count` calls of a function until a time: due ones, and ones whose lease is over, by that time.

        Each gets a new epoch and counts one attempt more. Empty when there are none.
        """
        ...

    async def extend(self, leases: Sequence[tuple[str, int]], *, until: float) -> Set[str]:
        """Keep leases, given as id and epoch, until a later time. Returns the ids of those that are lost.

        A lease is lost when its call was cancelled, settled, forgotten, or lent to somebody else since.
        """
        ...

    async def settle(self, call: str, epoch: int, outcome: Outcome, *, now: float) -> None:
        """End an attempt. Only the current lease can, also when its time is over. Raises `LeaseLost`."""
        ...

    async def pull_in(self, *, before: float, now: float) -> int:
        """The clock was put back, from `before` to `now`: nobody is to wait until it has caught up. Returns how many calls moved.

        What was due by the old time is due now, and so is what was due when it was put, at a time that has yet to come.
        Leases, and waits for another attempt, are shortened by the difference. Calls that were put off stay where they
        are: their time may have been named by a clock that was right.
        """
        ...

    async def cancel(self, namespace: NamespaceName, call: str, *, now: float, reason: str = "") -> CallRecord:
        """End an open call, also a running one: its holder's lease is lost. One that has ended stays as it is.

        Idempotent; returns the call as it is afterwards. Raises `CallNotFound`, also for a call of another namespace.
        """
        ...

    async def look_up(self, namespace: NamespaceName | None, call: str, *, now: float) -> CallRecord:
        """A call with its answer, if one is kept. Raises `CallNotFound`, also for a call of another namespace.

        Without a namespace it is sought in all of them: for who has to be told by the id alone whose call it is.
        """
        ...

    async def counts(self, *, open_only: bool = False) -> Sequence[QueueCounts]:
        """One entry for each function that has had a call since its namespace was made, in any order.

        `open_only`: only functions with calls that wait or run.
        """
        ...


@runtime_checkable
class RemoteQueue(Protocol):
    """A queue that is kept by servers elsewhere."""

    @property
    def reconnects(self) -> int:
        """How often the connection to them was lost and made again."""
        ...


class QueueRecords(Protocol):
    """What is kept of calls, and how it leaves. The same promises and errors as `Queue`."""

    async def list_calls(
        self,
        namespace: NamespaceName,
        *,
        function: str = "",
        state: CallState | None = None,
        after: int = 0,
        limit: int,
    ) -> Sequence[CallRecord]:
        """Calls of a namespace by number, those above `after`, without their answers; of one function or state only."""
        ...

    async def body(self, namespace: NamespaceName, call: str) -> bytes:
        """The request of an open or dead call. Raises `CallNotFound`, also when it is no longer kept."""
        ...

    async def redrive(
        self, namespace: NamespaceName, *, calls: Sequence[str] = (), function: str = "", now: float
    ) -> int:
        """Queue dead letters again, due now, with no attempts counted; the number of them.

        Those named in `calls` (none named: all), of one function only if it is given. Others are passed over.
        """
        ...

    async def purge(self, namespace: NamespaceName, *, calls: Sequence[str] = (), function: str = "") -> int:
        """Forget dead letters, chosen as in `redrive`; the number of them."""
        ...

    async def cancel_function(self, ref: FunctionRef, *, reason: str, now: float) -> int:
        """Cancel every open call of a function, as when it is removed, and forget its marks (`core.ports.schedules`).

        The number of calls. Idempotent.
        """
        ...

    async def forget_namespace(self, namespace: NamespaceName) -> None:
        """Forget all of a namespace in one step: calls, answers, dead letters, keys, counts, marks. Absence is success."""
        ...

    async def expire(self, *, now: float) -> int:
        """Forget answers whose time is over, and finished calls that are too old or too many; the number of calls."""
        ...
