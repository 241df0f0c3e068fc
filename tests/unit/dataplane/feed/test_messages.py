"""Frames of the feed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.core.model import CallPolicy, Endpoint, Route
from hilbert.dataplane.feed.messages import (
    Applied,
    Delta,
    Down,
    Entry,
    Hello,
    Resync,
    Snapshot,
    Unframer,
    Up,
    Wake,
    frame,
    route_digest,
)

ROUTE = Route("ns", "f", (Endpoint("r", "unix:/s"),), CallPolicy(total=1.5))


@given(st.lists(st.integers(1, 40), max_size=30))
def test_messages_come_through_however_they_are_cut(cuts: list[int]) -> None:
    """In order, each once."""
    down = [Snapshot("e", 1, 5, [Entry(1, ROUTE)]), Delta(2, 0, [], [("ns", "f")])]
    data = b"".join(frame(message) for message in down)
    unframer, got = Unframer(), []
    at = 0
    for cut in [*cuts, len(data)]:
        got += [msgspec.msgpack.decode(body, type=Down) for body in unframer.feed(data[at : at + cut])]
        at += cut
    assert got == down


def test_upward_messages() -> None:
    """As they were."""
    for message in (Hello("i", 1), Resync(), Applied(3), Wake("ns", "f")):
        (body,) = Unframer().feed(frame(message))
        assert msgspec.msgpack.decode(body, type=Up) == message


def test_frame_that_is_too_long() -> None:
    """Refused before its bytes are collected."""
    with pytest.raises(ValueError, match="bytes"):
        Unframer().feed(b"\xff\xff\xff\xff")


def test_digest_depends_on_everything() -> None:
    """Name, namespace, endpoints, policy."""
    others = [
        Route("ns", "g", ROUTE.endpoints, ROUTE.policy),
        Route("nt", "f", ROUTE.endpoints, ROUTE.policy),
        Route("ns", "f", (), ROUTE.policy),
        Route("ns", "f", ROUTE.endpoints, CallPolicy(total=1.6)),
    ]
    assert len({route_digest(one) for one in [ROUTE, *others]}) == 5
