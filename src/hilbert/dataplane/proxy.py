"""Where a request goes: to a function, or to the control plane."""

from __future__ import annotations

import hmac
from time import monotonic, time
from typing import Final

import structlog

from hilbert.core.addresses import source_of
from hilbert.dataplane import failures, headers
from hilbert.dataplane.admission import Admission
from hilbert.dataplane.call import FunctionCall, TunnelCall
from hilbert.dataplane.control_call import ControlCall
from hilbert.dataplane.feed.messages import CallUsed, Refusal
from hilbert.dataplane.forwarded import Origin, TrustedProxies
from hilbert.dataplane.gates import connect, disconnect, enter, leave
from hilbert.dataplane.guard import Guard
from hilbert.dataplane.origin import tenant_of
from hilbert.dataplane.overload import Overload
from hilbert.dataplane.passage import Passage, Refused
from hilbert.dataplane.places import Places
from hilbert.dataplane.table import RouteState, Table
from hilbert.dataplane.turned_away import TurnedAwayCalls
from hilbert.dataplane.uses import Uses
from hilbert.dataplane.waiting import WaitingRoom
from hilbert.kit.http1 import Handler, Pool, Request, Responder, TimerWheel
from hilbert.wire.headers import is_of_cron_connector

_NOBODY: Final = Origin()

_access = structlog.get_logger("hilbert.access")


class Proxy:
    """Takes requests from connections and sends each on its way."""

    def __init__(
        self,
        table: Table,
        wheel: TimerWheel,
        control: Pool,
        *,
        room: WaitingRoom,
        trusted: TrustedProxies,
        admission: Admission,
        tunnels: Places,
        api_calls: Places,
        access_log: bool,
        max_api_body: int,
        functions_domain: str = "",
        delivery_secret: str = "",
        guard: Guard | None = None,
        uses: Uses | None = None,
        turned_away: TurnedAwayCalls | None = None,
    ) -> None:
        """`delivery_secret` proves that a call is a queued one, made by the gateway itself; empty: none is.

        `uses` is told of each call, `turned_away` of those that are refused because of who makes them.
        """
        self._table = table
        self.wheel = wheel
        self._control = control
        self.room = room
        self._trusted = trusted
        self._admission = admission
        self._tunnels = tunnels
        self._api_calls = api_calls
        self.notes = access_log or bool(trusted) or uses is not None
        self._uses = uses
        self._turned_away = turned_away or TurnedAwayCalls()
        self._access_log = access_log
        self._max_api_body = max_api_body
        self._delivery = delivery_secret.encode()
        self._guard = guard or Guard()
        self.overload = Overload(admission.most, table.demand)
        self._domain = functions_domain.strip(".").lower().encode()

    def accept(self, request: Request, responder: Responder) -> Handler:
        """A request's head is whole: the entry of every call."""
        incoming: headers.Incoming = request.derived or headers.incoming(request)
        if incoming.delivered:
            self._for_whom(incoming.delivered, responder)
        segment = incoming.segment
        if segment is None:
            if tenant_of(_host(incoming), self._domain) is not None:
                return Refused(request, responder, incoming, failures.FUNCTIONS_ONLY)
            return self.to_control(request, responder, incoming)
        state = self._for_browser(incoming, segment) if incoming.browser else self._table.by_segment.get(segment)
        if state is None:
            return self.refuse(request, responder, incoming, segment)
        return self.call(request, responder, incoming, state)

    def call(self, request: Request, responder: Responder, incoming: headers.Incoming, state: RouteState) -> Handler:
        """To a function."""
        if not incoming.allowed:
            return Refused(request, responder, incoming, failures.METHOD)
        if state.scheduled and is_of_cron_connector(request.headers) and not self._is_ours(incoming):
            return Refused(request, responder, incoming, failures.FIRED_HERE)
        if state.guarded:
            guard, known = self._guard, incoming.let_in
            if known is None or known[0] is not state or known[1] is not guard.told or guard.now() >= known[2]:
                found = self._let_in(responder, incoming, state)
                if isinstance(found, failures.Failure):
                    return self._turn_away(request, responder, incoming, state, found)
                known = found
            incoming = known[3] or incoming
        overload = self.overload
        if overload.under_way >= overload.begins and (refused := self._shed(state, incoming)) is not None:
            state.counters.begin()
            state.counters.end(refused.status, 0.0)
            return Refused(request, responder, incoming, refused)
        gates = state.gates
        if gates and (refused := enter(gates, monotonic())) is not None:
            state.counters.begin()
            state.counters.end(refused.status, 0.0)
            return Refused(request, responder, incoming, refused)
        if incoming.upgrade:
            source = _source(responder, incoming)
            if (refused := connect(gates)) is not None:
                leave(gates)
                return Refused(request, responder, incoming, refused)
            if not self._tunnels.take(source):
                leave(gates)
                disconnect(gates)
                return Refused(request, responder, incoming, failures.tunnels_taken(self._tunnels, source))
            call: FunctionCall = TunnelCall(
                self, state, request, responder, incoming, places=self._tunnels, source=source
            )
        else:
            call = FunctionCall(self, state, request, responder, incoming)
        call.gates = gates
        if state.waiting or not call.dispatch(call.began):
            if not state.replicas:
                state.counters.cold_starts += 1
            self.room.enter(call)
        return call

    def accept_forwarded(self, request: Request, responder: Responder) -> Handler:
        """The same for a request that came through a trusted proxy: its origin is what the proxy says."""
        incoming: headers.Incoming | None = request.derived
        if incoming is None:
            incoming = request.derived = headers.Incoming(request, self._trusted.origin(request.headers))
        origin = incoming.origin or _NOBODY
        responder.peer = origin.address or responder.far_end
        called = incoming.allowed and incoming.segment is not None and self._for_browser(incoming, incoming.segment)
        if not called or not origin.source:
            return self.accept(request, responder)
        calls = self._admission.calls
        if not calls.take(origin.source):
            return Refused(request, responder, incoming, failures.source_busy(calls.most_of_source))
        handler = self.accept(request, responder)
        if not isinstance(handler, FunctionCall):
            calls.give_back(origin.source)
        return handler

    def _shed(self, state: RouteState, incoming: headers.Incoming) -> failures.Failure | None:
        """Why a call is refused that a worker with fewer would take."""
        return self.overload.refuses(state.namespace, queued=bool(incoming.delivered), cold=not state.replicas)

    def _for_whom(self, delivered: bytes, responder: Responder) -> None:
        """A queued call is made for whoever queued it, if it is really the gateway that makes it."""
        secret, _, address = delivered.partition(b" ")
        if self._delivery and hmac.compare_digest(secret, self._delivery):
            responder.peer = address or responder.far_end

    def _is_ours(self, incoming: headers.Incoming) -> bool:
        """Whether the gateway itself makes the call, for whoever queued it."""
        if not incoming.delivered or not self._delivery:
            return False
        return hmac.compare_digest(incoming.delivered.partition(b" ")[0], self._delivery)

    def _turn_away(
        self,
        request: Request,
        responder: Responder,
        incoming: headers.Incoming,
        state: RouteState,
        failure: failures.Failure,
    ) -> Handler:
        """Refuse a call because of who makes it, and have that written down."""
        state.counters.begin()
        state.counters.end(failure.status, 0.0)
        refused = Refused(request, responder, incoming, failure)
        self._turned_away.add(
            Refusal(
                time(), state.namespace, state.name, failure.status, request.method.decode("latin-1"),
                _source(responder, incoming), refused.call_id.decode("latin-1"), failure.who, failure.message,
            )
        )  # fmt: skip
        return refused

    def _let_in(
        self, responder: Responder, incoming: headers.Incoming, state: RouteState
    ) -> headers.LetIn | failures.Failure:
        """What goes to a guarded function, or why the caller is refused.

        Whoever had a queued call or a schedule made was asked before.
        """
        guard = self._guard
        if self._is_ours(incoming):
            passed = headers.vouched(incoming, guard.pass_for(state.namespace, state.name))
            return headers.LetIn(state, guard.told, 0.0, passed)
        found = guard.check(
            headers.credentials(incoming), state.namespace, state.name, lambda: _source(responder, incoming)
        )
        if isinstance(found, failures.Failure):
            return found
        shown: headers.Incoming | None = None
        if not found.is_shown:
            shown = headers.vouched(incoming, guard.pass_for(state.namespace, state.name))
        incoming.let_in = known = headers.LetIn(state, guard.told, found.until, shown)
        return known

    def descriptors_for(self, call: Passage) -> int:
        return self._admission.descriptors_for(source_of(call.client.peer.decode("ascii")))

    def ended(self, call: FunctionCall, status: int) -> None:
        origin = call.incoming.origin
        if origin is not None and origin.source:
            self._admission.calls.give_back(origin.source)
        if self._uses is not None:
            state = call.state
            self._uses.add(
                CallUsed(
                    state.namespace,
                    state.name,
                    int(call.started_at),
                    monotonic() - call.began,
                    status,
                    call.received,
                    call.sent,
                    self._is_ours(call.incoming),
                )
            )
        if self._access_log:
            waited, took = call.times()
            _access.info(
                "call",
                function=call.name,
                method=call.request.method.decode(),
                path=call.incoming.path.decode("ascii", "backslashreplace"),
                status=status,
                call_id=call.call_id.decode(),
                wait=round(waited, 6),
                call=round(took, 6),
            )

    def _for_browser(self, incoming: headers.Incoming, segment: bytes) -> RouteState | None:
        """The function that is meant: at `NAMESPACE.DOMAIN`, which is an origin of that namespace's own, one of its own."""
        tenant = tenant_of(_host(incoming), self._domain) if incoming.browser else None
        if tenant is not None:
            incoming.own = True
            segment = segment if b"." in segment else b"%b.%b" % (segment, tenant)
            if not segment.endswith(b"." + tenant):
                return None
        return self._table.by_segment.get(segment)

    def to_control(self, request: Request, responder: Responder, incoming: headers.Incoming) -> Handler:
        """To the REST API."""
        places, source = self._api_calls, _source(responder, incoming)
        if not places.take(source):
            return Refused(request, responder, incoming, failures.api_busy(places, source))
        return ControlCall(
            request,
            responder,
            incoming,
            self._control,
            most=self._max_api_body,
            places=places,
            source=source,
            highest=self._admission.descriptors_for(source),
        )

    def refuse(self, request: Request, responder: Responder, incoming: headers.Incoming, segment: bytes) -> Handler:
        """There is no such function, or none that the caller may know of."""
        if not self._table.complete:
            failure = failures.NOT_YET
        elif not segment:
            failure = failures.NO_NAME
        else:
            failure = failures.unknown(self._table.full_name(_printable(segment)))
        return Refused(request, responder, incoming, failure)


def _host(incoming: headers.Incoming) -> bytes:
    """The name by which the client knows the gateway."""
    return (incoming.origin and incoming.origin.host) or incoming.host


def _source(responder: Responder, incoming: headers.Incoming) -> str:
    """Whose call it is, where each source has its share."""
    origin = incoming.origin
    return (origin.source if origin is not None else "") or source_of(responder.peer.decode("ascii"))


def _printable(segment: bytes) -> str:
    """A name from a path, safe to show."""
    text = segment[:128].decode("ascii", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)
