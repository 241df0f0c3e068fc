"""Kills one process of a start of an image's replica, at a step of it that the test chooses."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Any

import psutil
import pytest

from hilbert.runtimes.network.client import Network
from hilbert.runtimes.oci import start
from hilbert.runtimes.oci.launch import EndTold, Launching
from hilbert.runtimes.oci.messages import Launch
from hilbert.runtimes.replica.replicas import Replicas
from support.processes import ProcessHarness

STEPS = ("launched", "made", "attaching", "attached", "let go", "running")
"""The launcher has answered; bubblewrap has said which process it made; its network is asked for, is there; it may go; it has gone."""
VICTIMS = ("outer", "inner", "launcher", "keeper")
"""The process that the launcher started, and the first one inside, which are one under an OCI runtime until that has gone."""


class Killer:
    """Of one start; what comes after is left alone."""

    def __init__(self, harness: ProcessHarness, step: str, victim: str) -> None:
        self.step = step
        self.victim = victim
        self.killed: list[int] = []
        self._harness = harness
        self._outer = self._inner = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        launch, child_of, release = Launching.launch, start.child_of, start.Started.release
        attach, move_in, whole = Network.attach, Network.move_in, Replicas.attach

        async def launching(this: Launching, order: Launch, descriptors: Sequence[int]) -> tuple[int, EndTold]:
            found = await launch(this, order, descriptors)
            self._outer = found[0]
            self._at("launched")
            return found

        async def making(info: int) -> int:
            self._inner = await child_of(info)
            self._at("made")
            return self._inner

        async def asking(this: Network, *arguments: Any) -> None:
            self._at("attaching")
            await attach(this, *arguments)

        async def moving(this: Network, *arguments: Any) -> str:
            self._at("attaching")
            return await move_in(this, *arguments)

        async def attaching(this: Replicas, *arguments: Any, **named: Any) -> None:
            await whole(this, *arguments, **named)
            self._at("attached")

        def releasing(this: start.Started) -> None:
            release(this)
            self._at("let go")

        monkeypatch.setattr(Launching, "launch", launching)
        monkeypatch.setattr(start, "child_of", making)
        monkeypatch.setattr(Network, "attach", asking)
        monkeypatch.setattr(Network, "move_in", moving)
        monkeypatch.setattr(Replicas, "attach", attaching)
        monkeypatch.setattr(start.Started, "release", releasing)

    def is_done(self) -> bool:
        """Whether it has happened. Kills it if that is to happen when the replica runs, and it does."""
        with contextlib.suppress(psutil.NoSuchProcess):
            ahead = 1 if self._inner != self._outer else 0
            if self._outer and psutil.Process(self._outer).children(recursive=True)[ahead:]:
                self._at("running")
        return bool(self.killed)

    def _at(self, step: str) -> None:
        if step != self.step or self.killed:
            return
        match self.victim:
            case "outer":
                pid = self._outer
            case "inner":
                pid = self._inner
            case "launcher":
                pid = self._launcher()
            case _:
                pid = self._keeper()
        if pid:
            self.killed.append(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _launcher(self) -> int:
        return self._harness.runtime._launching._child

    def _keeper(self) -> int:
        network = self._harness.runtime.replicas.network
        assert network is not None
        return network._child
