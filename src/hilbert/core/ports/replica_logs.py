"""The port `ReplicaLogs`: what replicas of one machine write, kept within bounds and read back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from hilbert.core.limits import LogUse, Scope
from hilbert.core.model import LogLine, LogQuery
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName


class ReplicaLogs(Protocol):
    """Takes what replicas write and gives it back as lines; bounded in bytes for each replica, and in old replicas.

    The runtime opens and retires, the host provider reads and drops. A replica is hostile: nothing that it can do with
    what `open` gave may exceed the bounds, hold up a reader or change what was written before.
    """

    def open(self, ref: FunctionRef, replica: str, *, bare: bool = False) -> int:
        """A descriptor to which the replica writes; the caller's to close. It may be given to a user of the replica's own.

        `bare`: its lines come without a time, and get that at which they come.

        Raises `OSError`.
        """
        ...

    def adopt(self, ref: FunctionRef, replica: str, *, bare: bool = False) -> None:
        """An earlier run has opened the log of this replica, which still writes: look after it. Idempotent."""
        ...

    def retire(self, ref: FunctionRef, replica: str) -> None:
        """The replica has ended. Its lines stay for a bounded while. Absence is success."""
        ...

    async def last_lines(self, ref: FunctionRef, replica: str, count: int) -> Sequence[str]:
        """The last lines, at most `count`, each cut to 200 characters, with all that was written before."""
        ...

    def read(self, query: LogQuery, *, alive: Callable[[], bool] = lambda: True) -> AsyncIterator[LogLine]:
        """As `Logs.read_logs`. With `follow`, ends once `alive` is false, with all that was there then.

        Raises `BackendUnavailable` where what was written cannot be read now.
        """
        ...

    def drop(self, ref: FunctionRef) -> None:
        """Forget all that the function wrote: a namesake made later sees nothing of it. Absence is success."""
        ...

    def drop_namespace(self, name: NamespaceName) -> None:
        """As `drop`, for all functions of a namespace."""
        ...

    def slow(self, namespace: NamespaceName, name: FunctionName | None, rate: int) -> None:
        """Take no more than `rate` bytes a second of a function, or of a namespace as a whole; 0 is no bound.

        Whoever writes faster waits. Told anew after each start.
        """
        ...

    async def uses(self) -> Mapping[Scope, LogUse] | None:
        """How the bounds of `slow` are used; those that are not, are missing. None: nobody can tell now."""
        ...

    def keep_only(self, known: Iterable[FunctionRef]) -> None:
        """Drop what belongs to any other function. Called once, before anything is opened or adopted."""
        ...

    async def close(self) -> None:
        """Stop looking after logs. What is written stays, and replicas go on."""
        ...
