"""The call of a function: a passage that finds a replica, waits for one if it must, and is counted."""

from __future__ import annotations

import errno
from time import monotonic
from typing import Final, Protocol

from hilbert.dataplane import failures, headers
from hilbert.dataplane.gates import Gate, disconnect, leave
from hilbert.dataplane.headers import Incoming
from hilbert.dataplane.overload import Overload
from hilbert.dataplane.passage import Passage
from hilbert.dataplane.places import Places
from hilbert.dataplane.table import Replica, RouteState
from hilbert.dataplane.waiting import WaitingRoom
from hilbert.kit.aio import spawn
from hilbert.kit.http1 import Request, Responder, Response, TimerWheel
from hilbert.kit.http1.forward import IDEMPOTENT, first_value

_TRIES: Final = 4
"""Replicas that may lose a call before it is given up."""


class Service(Protocol):
    """What a call needs of the worker that it runs in; `Proxy` is one."""

    wheel: TimerWheel
    room: WaitingRoom
    overload: Overload
    notes: bool
    """`ended` wants to hear."""

    def descriptors_for(self, call: Passage) -> int:
        """See `Pool.connect`."""
        ...

    def ended(self, call: FunctionCall, status: int) -> None:
        """The call is over; see `Hop.on_end`."""
        ...


class FunctionCall(Passage):
    """One invocation, from its head to its last byte."""

    __slots__ = (
        "_avoid",
        "_reason",
        "_replica",
        "_sent",
        "_service",
        "_tries",
        "_waits",
        "began",
        "deadline",
        "gates",
        "received",
        "sent",
        "state",
        "wheel_due",
    )

    def __init__(
        self, service: Service, state: RouteState, request: Request, responder: Responder, incoming: Incoming
    ) -> None:
        policy = state.policy
        Passage.__init__(self, request, responder, incoming, policy)
        self.state = state
        self._service = service
        self._replica: Replica | None = None
        self._avoid: Replica | None = None
        self._tries = 0
        self._reason = ""
        """Why the last replica did not answer."""
        self.began = monotonic()  # the clock of the event loop, but finer
        self._sent = 0.0
        self._waits = False
        self.deadline = self.wheel_due = 0.0
        self.gates: tuple[Gate, ...] = ()
        """Limits that count it while it lasts."""
        state.counters.begin()
        service.overload.under_way += 1
        self.received = self._held_bytes
        self.sent = 0
        if policy.total:
            self._arm()

    @property
    def name(self) -> str:
        return str(self.state)

    @property
    def held(self) -> int:
        return self._held_bytes

    def dispatch(self, now: float) -> bool:
        """Send it to a replica. False: there is none with room."""
        replica = self.state.choose(now, self._avoid)
        if replica is None:
            return False
        self._replica = replica
        if self._waits:
            self._waits = False
            self._arm()
        replica.inflight += 1
        self._tries += 1
        connection = replica.pool.take() if self.request.method in IDEMPOTENT else replica.pool.take_certain()
        if connection is not None:
            self._sent = now
            self.attach(connection)
        else:
            spawn(self._connect(replica), name=f"connect {self.name}")
        return True

    async def _connect(self, replica: Replica) -> None:
        try:
            connection = await replica.pool.connect(highest=self._service.descriptors_for(self))
        except OSError as exc:
            if exc.errno in (errno.EMFILE, errno.ENFILE):
                self.fail(failures.SHORT)
                return
            replica.refuse(monotonic())
            if not self.ended:
                self.again(exc.strerror or str(exc), refused=True)
            return
        if replica.refusing:
            replica.accept()
            self._service.room.release(self.state)
        if self.ended or self._replica is not replica:
            replica.pool.release(connection)
            return
        self._sent = monotonic()
        self.attach(connection)

    def again(self, reason: str, *, refused: bool) -> bool:
        """Go to another replica, or wait for one. `refused`: nothing was sent, so that this may go on for long."""
        if not refused and self._tries >= _TRIES:
            return False
        self._avoid, self._reason = self._replica, reason
        self._let_go()
        self.state.counters.retries += 1
        if not self.dispatch(monotonic()):
            self._service.room.enter(self)
        return True

    def wait(self) -> None:
        """Wait for a replica until the policy's limit, and take no more of the body meanwhile."""
        self._waits = True
        if not self._whole and not self._holding:
            self._holding = True
            self.client.pause_body()
        self._arm()

    def _arm(self) -> None:
        """Set the deadline: that of the whole call, and while it waits that of the wait."""
        limits = [self.patience.total, self.patience.activation] if self._waits else [self.patience.total]
        seconds = min((limit for limit in limits if limit), default=0.0)
        if seconds:
            self.deadline = self.began + seconds
            self._service.wheel.watch(self)
        else:
            self._service.wheel.forget(self)

    def on_deadline(self) -> None:
        if self.ended:
            return
        if self.patience.total and monotonic() >= self.began + self.patience.total:
            self.on_total_deadline()
        elif self._waits:
            self._service.room.expire(self, self._reason)

    # What a hop asks

    def head(self) -> tuple[bytes, ...]:
        incoming = self.incoming
        replica = self._replica
        return (
            incoming.start,
            b"" if replica is None else replica.host or self._host(replica),
            incoming.lines,
            b"X-Call-Id: ",
            self.call_id,
            b"\r\nX-Start-Time: ",
            self.started_at,
            b"\r\nX-Forwarded-For: ",
            self.client.peer,
            b"\r\n\r\n",
        )

    def _host(self, replica: Replica) -> bytes:
        """A replica's address, or on a unix socket the function's full name."""
        kind, _, place = replica.endpoint.address.partition(":")
        replica.host = (place if kind == "tcp" else self.name).encode()
        return replica.host

    def informing_lines(self, response: Response) -> bytes:
        return headers.informing(response)

    def head_lines(self, response: Response) -> bytes:
        if self.incoming.browser:
            lines, typed, dated = headers.to_browser(response, self.incoming)
        else:
            lines, typed, dated = response.derived or headers.from_function(response)
        date = b"" if dated else self._service.wheel.date
        if not typed and response.length != 0:
            lines += b"Content-Type: %b\r\n" % (first_value(self.request.headers, b"content-type") or b"text/plain")
        return b"".join((lines, date, b"X-Call-Id: ", self.call_id, b"\r\nX-Start-Time: ", self.started_at, b"\r\n"))

    # What is counted on the way

    def on_body(self, data: bytes) -> None:
        self.received += len(data)
        Passage.on_body(self, data)

    def on_whole_response(self, response: Response, body: bytes) -> None:
        self.sent += len(body)
        Passage.on_whole_response(self, response, body)

    def on_response_body(self, data: bytes) -> None:
        self.sent += len(data)
        Passage.on_response_body(self, data)

    def on_end(self, status: int) -> None:
        if self._waits:
            self._service.room.leave(self)
        if self.wheel_due:
            self._service.wheel.forget(self)
        state, service = self.state, self._service
        state.counters.end(status, monotonic() - self.began, self.received, self.sent)
        if self.gates:
            leave(self.gates)
        replica = self._replica
        if replica is not None:
            self._replica = None
            replica.inflight -= 1
        service.overload.under_way -= 1
        if state.waiting:
            service.room.release(state)
        if service.notes:
            service.ended(self, status)

    def times(self) -> tuple[float, float]:
        """Seconds that it has waited for a replica, and that the replica has had it."""
        now = monotonic()
        sent = self._sent or now
        return sent - self.began, now - sent

    def _let_go(self) -> None:
        """Give the replica's place back."""
        replica, self._replica = self._replica, None
        if replica is not None:
            replica.inflight -= 1


class TunnelCall(FunctionCall):
    """A call that asks for an upgrade: it may become a tunnel, and has a place among those."""

    __slots__ = ("_places", "_source")

    def __init__(
        self,
        service: Service,
        state: RouteState,
        request: Request,
        responder: Responder,
        incoming: Incoming,
        *,
        places: Places,
        source: str,
    ) -> None:
        """`source` has taken one of `places`, which is given back at the end."""
        super().__init__(service, state, request, responder, incoming)
        self._places = places
        self._source = source

    def on_end(self, status: int) -> None:
        self._places.give_back(self._source)
        disconnect(self.gates)
        super().on_end(status)
