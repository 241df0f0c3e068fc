"""Messages with descriptors: what goes in comes out, once, and nothing leaks."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from hilbert.kit import handover


def test_a_message_brings_its_descriptors(tmp_path: Path) -> None:
    listener = handover.listen(tmp_path / "s")
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    sender = handover.connect(tmp_path / "s")
    receiver, _ = listener.accept()
    read, write = os.pipe()
    with listener, sender, receiver:
        handover.send(sender, b"one", [write])
        handover.send(sender, b"two")
        os.close(write)
        message, (got,) = handover.receive(receiver)
        assert message == b"one"
        assert not os.get_inheritable(got)
        assert handover.receive(receiver) == (b"two", [])
        os.write(got, b"x")
        assert os.read(read, 5) == b"x"
        handover.close([got, got])
        sender.close()
        assert handover.receive(receiver) == (b"", [])
    os.close(read)


def test_more_descriptors_than_agreed_are_refused_and_closed() -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        before = len(os.listdir("/proc/self/fd"))
        handover.send(one, b"many", [0] * 80)
        with pytest.raises(OSError, match="longer than agreed"):
            handover.receive(other)
        assert len(os.listdir("/proc/self/fd")) == before


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        handover.connect(tmp_path / "s")
