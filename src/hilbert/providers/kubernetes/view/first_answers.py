"""Pods of functions that have nothing ready are tried by the gateway itself, as soon as they have an address.

The kubelet looks at a Pod about once a second and tells of it later still; a call that waits for a function to start
would wait for that, too. The kubelet's word counts as soon as there is one: an answer opens the way to a Pod until its
EndpointSlice lists it, until its container ends, or until the kubelet has had time for two probes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from hilbert.core.errors import HilbertError
from hilbert.kit.aio import Clock, cancel, spawn
from hilbert.kit.http1.ask import ask, safe_path
from hilbert.providers.kubernetes.cluster import names
from hilbert.providers.kubernetes.cluster.objects import Pod
from hilbert.providers.kubernetes.cluster.reflector import Key
from hilbert.providers.kubernetes.render import probes
from hilbert.providers.kubernetes.view import endpoints
from hilbert.providers.kubernetes.view.state import State

_OFTEN: Final = (3.0, 0.025)
"""For so many seconds, a try every so many seconds; most containers start within that."""
_SELDOM: Final = (15.0, 0.25)
"""And then, before it is left to the kubelet."""
_PATIENCE: Final = 1.0
"""Seconds that one try may take."""
_AT_ONCE: Final = 48
_MOST: Final = 500
"""Pods that are being tried or wait to be; more are left to the kubelet."""
_HOLDS: Final = (10.0, 60.0)
"""Seconds for which an answer opens the way unless the kubelet confirms it: so many and two of its probes, or at most."""


class _Probe(msgspec.Struct, frozen=True):
    path: str
    holds: float
    """Seconds for which a good answer counts."""


class FirstAnswers:
    """`start` it and `stop` it; what it finds out goes to `state`."""

    def __init__(self, state: State, clock: Clock, *, asks: Callable[[str, str], Awaitable[int]] = ask) -> None:
        self._state = state
        self._clock = clock
        self._ask = asks
        self._tasks: set[asyncio.Task[None]] = set()
        self._tried: set[str] = set()
        """UIDs of Pods, for as long as an answer would hold: later they are tried anew if need be."""
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def start(self) -> None:
        self._state.on_function.append(self._look)

    async def stop(self) -> None:
        if self._look in self._state.on_function:
            self._state.on_function.remove(self._look)
        await cancel(*self._tasks)

    def _look(self, key: Key) -> None:
        new = [
            pod for pod in self._state.pods(key) if pod.metadata.uid not in self._tried and self._is_worth_it(key, pod)
        ]
        if not new or self._state.endpoints(key) or (probe := self._probe(key)) is None:
            return
        for pod in new[: _MOST - len(self._tasks)]:
            self._tried.add(pod.metadata.uid)
            task = spawn(self._try(key, pod.metadata.uid, probe), name=f"first answer of {pod.metadata.name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _probe(self, key: Key) -> _Probe | None:
        """None where the function wants a delay, or more than one good answer."""
        function = self._state.function(key)
        spec = self._state.spec(function)[0] if function is not None else None
        if spec is None:
            return None
        try:
            rendered = probes.readiness(spec.annotations)
        except HilbertError:
            return None
        path = safe_path(rendered["httpGet"]["path"], "")
        if not path or rendered["initialDelaySeconds"] or rendered["successThreshold"] > 1:
            return None
        least, most = _HOLDS
        two = 2 * (rendered["periodSeconds"] + rendered["timeoutSeconds"])
        return _Probe(path, min(least + two, most))

    def _is_worth_it(self, key: Key, pod: Pod) -> bool:
        function = self._state.function(key)
        return (
            function is not None
            and pod.annotations.get(names.ANNOTATION_FUNCTION) == function.metadata.uid
            and pod.metadata.deletion_timestamp is None
            and pod.status.phase in ("Pending", "Running")
            and endpoints.own_address(pod) is not None
            and not any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or ())
        )

    async def _try(self, key: Key, uid: str, probe: _Probe) -> None:
        loop = asyncio.get_running_loop()
        began = self._clock.now()
        async with self._turns:
            while (waited := self._clock.now() - began) < _SELDOM[0]:
                pod = next((pod for pod in self._state.pods(key) if pod.metadata.uid == uid), None)
                if pod is None or not self._is_worth_it(key, pod) or self._state.endpoints(key):
                    break
                if await self._answers(endpoints.own_address(pod) or "", probe.path):
                    self._state.answered(key, pod)
                    loop.call_later(probe.holds, self._state.unanswered, key, uid)
                    break
                await self._clock.sleep(_OFTEN[1] if waited < _OFTEN[0] else _SELDOM[1])
        loop.call_later(probe.holds, self._tried.discard, uid)

    async def _answers(self, address: str, path: str) -> bool:
        """As the kubelet judges."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return 200 <= await self._ask(address, path) < 400
        except TimeoutError:
            return False
