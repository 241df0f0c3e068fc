"""When a tunnel ends, played without sockets."""

from __future__ import annotations

from typing import Any

import pytest

from hilbert.kit.http1 import ClientConnection, Pool, TimerWheel
from hilbert.kit.http1.forward import HALF_CLOSED, Relay
from support.transports import ManualLoop, MemoryTransport


class Side(MemoryTransport):
    """A transport that a relay can ask for all that it asks."""

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return 1000, 4000


class Tunnel:
    """A client, an upstream, and the relay between them."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        wheel = TimerWheel(loop=self.loop)  # type: ignore[arg-type]  # what it uses of a loop
        self.connection = ClientConnection(Pool("unix:/x", wheel))
        self.client, self.upstream = Side(), Side()
        self.connection.connection_made(self.upstream)  # type: ignore[arg-type]
        self.ends = 0
        client: Any = self.client
        self.relay = Relay(client, self.connection, self.end)
        self.connection.tunnel = self.relay.from_upstream

    def end(self) -> None:
        self.ends += 1

    def client_gone(self) -> None:
        self.client.closing = True
        self.relay.from_client.on_close()

    def upstream_gone(self) -> None:
        self.upstream.closing = True
        self.connection.connection_lost(None)


@pytest.fixture
def tunnel() -> Tunnel:
    return Tunnel()


def test_bytes_go_both_ways_for_as_long_as_both_sides_are_there(tunnel: Tunnel) -> None:
    """Silence is no reason to end."""
    tunnel.relay.from_client.on_data(b"a")
    tunnel.loop.advance(100_000)
    tunnel.relay.from_upstream.on_data(b"b")
    assert (tunnel.upstream.sent, tunnel.client.sent) == (b"a", b"b")
    assert not tunnel.client.closing


@pytest.mark.bound("tunnel")
def test_a_client_that_leaves_ends_a_tunnel_whose_other_end_stays_open(tunnel: Tunnel) -> None:
    """What a closed client looks like: its end of sending, and nothing more."""
    tunnel.relay.from_client.on_eof()
    assert tunnel.upstream.ended
    tunnel.loop.advance(HALF_CLOSED - 1)
    assert not tunnel.upstream.aborted
    tunnel.loop.advance(2)
    assert tunnel.client.aborted
    assert tunnel.upstream.aborted
    tunnel.client_gone()
    tunnel.upstream_gone()
    assert tunnel.ends == 1


def test_an_upstream_that_ends_sending_ends_the_tunnel_as_well(tunnel: Tunnel) -> None:
    tunnel.connection.eof_received()
    tunnel.loop.advance(HALF_CLOSED + 1)
    assert tunnel.client.aborted


def test_a_half_closed_tunnel_lives_while_bytes_move(tunnel: Tunnel) -> None:
    """A long answer to a client that has said all it had to say."""
    tunnel.relay.from_client.on_eof()
    for _ in range(20):
        tunnel.loop.advance(HALF_CLOSED / 2)
        tunnel.relay.from_upstream.on_data(b"x")
    assert not tunnel.client.aborted
    tunnel.loop.advance(2 * HALF_CLOSED + 1)
    assert tunnel.client.aborted


def test_two_half_closes_end_it_at_once(tunnel: Tunnel) -> None:
    tunnel.relay.from_client.on_eof()
    tunnel.connection.eof_received()
    assert tunnel.client.closing
    assert tunnel.upstream.closing
    assert not tunnel.client.aborted


def test_what_is_left_has_a_while_to_be_taken_once_one_side_is_gone(tunnel: Tunnel) -> None:
    """Even by a side that takes a byte now and then."""
    tunnel.upstream_gone()
    assert tunnel.client.closing
    for unsent in range(10, 0, -1):
        tunnel.client.unsent = unsent
        tunnel.loop.advance(HALF_CLOSED / 8)
    assert tunnel.client.aborted
    tunnel.client_gone()
    assert tunnel.ends == 1


def test_a_process_that_ends_does_not_wait_for_half_a_tunnel(tunnel: Tunnel) -> None:
    tunnel.relay.from_client.on_eof()
    tunnel.relay.from_client.on_leave()
    assert tunnel.upstream.aborted


def test_a_process_that_ends_lets_a_whole_tunnel_go_on(tunnel: Tunnel) -> None:
    """Until one side has had enough."""
    tunnel.relay.from_client.on_leave()
    tunnel.relay.from_upstream.on_data(b"x")
    assert not tunnel.client.aborted
    tunnel.connection.eof_received()
    assert tunnel.client.aborted


def test_nothing_is_timed_after_the_end(tunnel: Tunnel) -> None:
    tunnel.relay.from_client.on_eof()
    tunnel.client_gone()
    tunnel.upstream_gone()
    tunnel.loop.advance(HALF_CLOSED * 3)
    assert tunnel.ends == 1
    assert not tunnel.upstream.aborted
