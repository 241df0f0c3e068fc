"""The keeper of networks, without networks."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import pytest

from hilbert.kit import handover
from hilbert.runtimes.network.keeper import Keeper
from hilbert.runtimes.network.messages import Attach, Attached, Config


@pytest.mark.bound("networks")
def test_a_keeper_with_few_descriptors_left_takes_no_more_replicas(tmp_path: Path) -> None:
    """Those that it has need some for their calls."""
    places = {name: str(tmp_path / name) for name in ("control", "inside", "dial")}
    keeper = Keeper(Config(**places, label="abcd", pool="10.213.0.0/16", programs={}), descriptors=1)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptors = [os.pidfd_open(os.getpid()), os.open("/proc/self/ns/net", os.O_RDONLY)]
    with ours, theirs:
        keeper._attach(theirs, Attach(replica="r", namespace="n"), descriptors)
        answer = msgspec.json.decode(handover.receive(ours)[0], type=Attached)
    handover.close(descriptors)
    assert "nearly as many files open as it may" in answer.error
    for own in (keeper._control, keeper._workers._listener, keeper._sockets._listener):
        own.close()
    keeper._selector.close()
    handover.close(keeper._low)
