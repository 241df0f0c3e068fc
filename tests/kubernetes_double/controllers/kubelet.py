"""The kubelet: one task per Pod takes it through its life and writes its status."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kubernetes_double.controllers import podstatus
from kubernetes_double.controllers.base import Controller
from kubernetes_double.controllers.podlog import PodLog
from kubernetes_double.controllers.processes import Running
from kubernetes_double.controllers.scripts import Outcome
from kubernetes_double.objects.clock import stamp
from kubernetes_double.serving.options import DeleteOptions
from kubernetes_double.serving.status import ApiError, Json
from kubernetes_double.storage.store import Key

if TYPE_CHECKING:
    from kubernetes_double.server import ApiServer

_MOST_BACK_OFF = 16
_ABOUT_THE_POD = frozenset({"FailedMount", "FailedCreatePodSandBox"})


class Kubelet(Controller):
    """Runs the Pods of every node."""

    manager = "kubelet"
    component = "kubelet"

    def __init__(self, server: ApiServer) -> None:
        super().__init__(server)
        self.logs: dict[str, dict[str, PodLog]] = {}
        """By uid of the Pod and name of the container; those of gone Pods go with them."""
        self._lives: dict[str, Life] = {}
        self._addresses = itertools.count(random.randrange(10_000_000))  # Other doubles run on this machine, too.

    def begin(self) -> None:
        self.follow("pods", existing=True)

    async def stop(self) -> None:
        await super().stop()
        lives = list(self._lives.values())
        await asyncio.gather(*(life.kill() for life in lives))
        self._lives.clear()

    def next_address(self) -> str:
        """A loopback address of its own for each Pod, so that all of them can listen on 8080."""
        number = next(self._addresses)
        return f"127.{1 + number // 65024 % 200}.{number // 254 % 256}.{number % 254 + 1}"

    def processes(self) -> dict[str, int]:
        """Process ids of the real processes, by name of the Pod."""
        return {life.name: life.running.pid for life in self._lives.values() if life.running is not None}

    async def sync(self, key: Key) -> None:
        pod = self.engine.peek("pods", *key)
        if pod is None:
            for uid, life in list(self._lives.items()):
                if life.key == key and not life.is_over:
                    await life.kill()
                    self._lives.pop(uid, None)
            return
        uid = pod["metadata"]["uid"]
        for other, life in list(self._lives.items()):
            if life.key == key and other != uid:
                await life.kill()
                self._lives.pop(other, None)
        if not pod["spec"].get("nodeName"):
            return
        known = self._lives.get(uid)
        if (
            known is None
            and pod["status"].get("phase") in ("Failed", "Succeeded")
            and "deletionTimestamp" not in pod["metadata"]
        ):
            return
        if known is None:
            known = self._lives[uid] = Life(self, pod)
            known.begin()
        if "deletionTimestamp" in pod["metadata"]:
            known.terminate()

    def forget(self, uid: str) -> None:
        self._lives.pop(uid, None)

    def log(self, uid: str, container: str) -> PodLog:
        """What a container of a Pod wrote so far."""
        return self.logs.setdefault(uid, {}).setdefault(container, PodLog())

    def end_logs(self, uid: str) -> None:
        for log in self.logs.get(uid, {}).values():
            log.end()

    def write(self, pod: Json, change: Callable[[Json], Any], *, binding: bool = False) -> Json | None:
        """Change the status (and, for the scheduler, the node) of a Pod; None when it is gone or another one."""
        metadata = pod["metadata"]
        now = self.engine.peek("pods", metadata["namespace"], metadata["name"])
        if now is None or now["metadata"]["uid"] != metadata["uid"]:
            return None
        with contextlib.suppress(ApiError):
            return self.change(self.resource("pods"), pod, change, sub="binding" if binding else "status")
        return None

    def remove(self, pod: Json) -> None:
        metadata = pod["metadata"]
        options = DeleteOptions(grace=0, uid=metadata["uid"])
        with contextlib.suppress(ApiError):
            self.engine.delete(self.resource("pods"), metadata["namespace"], metadata["name"], options, self.options())


class Life:
    """One Pod on its node."""

    def __init__(self, kubelet: Kubelet, pod: Json) -> None:
        self.pod = pod
        self.key: Key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        self.running: Running | None = None
        self.address = ""
        self._kubelet = kubelet
        self._pace = kubelet.server.pace
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._restarts = 0
        self._back_offs = 0
        self._last: Json = {}
        self._started = ""

    @property
    def name(self) -> str:
        return self.key[1]

    @property
    def uid(self) -> str:
        uid: str = self.pod["metadata"]["uid"]
        return uid

    @property
    def is_over(self) -> bool:
        return self._task is None or self._task.done()

    def begin(self) -> None:
        self._task = asyncio.create_task(self._live(), name=f"pod-{self.name}")

    def terminate(self) -> None:
        """Begin to end the Pod; its deletion is already in the store."""
        self._ending.set()

    async def kill(self) -> None:
        """End at once, without a word to the API."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.running is not None:
            await self.running.kill()
            self.running = None

    # Its course

    async def _live(self) -> None:
        try:
            outcome = self._kubelet.server.images.outcome(self.pod)
            await self._run(outcome)
        except _Ending:
            await self._end()
        except asyncio.CancelledError:
            raise
        except Exception as exc:
            self._kubelet.errors.append(f"pod {self.name}: {type(exc).__name__}: {exc}")
        finally:
            if self._ending.is_set():
                self._kubelet.forget(self.uid)

    async def _pause(self, seconds: float) -> None:
        """Wait; raises `_Ending` as soon as the Pod is to go."""
        if seconds <= 0:
            await asyncio.sleep(0)
            if self._ending.is_set():
                raise _Ending
            return
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            return
        raise _Ending

    def _event(self, kind: str, reason: str, message: str) -> None:
        part = "" if reason in _ABOUT_THE_POD else f"spec.containers{{{self.pod['spec']['containers'][0]['name']}}}"
        self._kubelet.event(self.pod, kind, reason, message, part=part)

    def _write(self, change: Callable[[Json], Any]) -> None:
        written = self._kubelet.write(self.pod, change)
        if written is not None:
            self.pod = written

    def _state(
        self, state: Json, *, phase: str, ready: bool, started: bool, sandbox: bool = True, why: str = ""
    ) -> None:
        address = self.address

        def change(fresh: Json) -> None:
            podstatus.write(
                fresh,
                state,
                phase=phase,
                ready=ready,
                started=started,
                sandbox=sandbox,
                why=why,
                address=address,
                restarts=self._restarts,
                last=self._last,
            )

        self._write(change)

    async def _run(self, outcome: Outcome) -> None:
        await self._pause(self._pace.create)
        waiting = {"waiting": {"reason": "ContainerCreating"}}
        self._state(waiting, phase="Pending", ready=False, started=False, sandbox=False)
        missing = self._missing_volume()
        while missing:
            self._event("Warning", "FailedMount", f"MountVolume.SetUp failed for volume {missing}")
            await self._pause(self._pace.back_off * 2)
            missing = self._missing_volume()
        while outcome.sandbox:
            self._event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {outcome.sandbox}")
            await self._pause(self._pace.back_off * _MOST_BACK_OFF)
        await self._pause(self._pace.start)
        self._state(waiting, phase="Pending", ready=False, started=False)
        if outcome.process is None:
            self.address = self._kubelet.next_address()
        if outcome.waiting:
            await self._stuck(outcome)
        await self._missing_environment()
        self._event(
            "Normal",
            "Pulled",
            f'Container image "{self._image}" already present on machine and can be accessed by the pod',
        )
        while True:
            code = await self._once(outcome)
            if not await self._after_exit(outcome, code):
                return

    @property
    def _image(self) -> str:
        return str(self.pod["spec"]["containers"][0].get("image", ""))

    async def _stuck(self, outcome: Outcome) -> None:
        reason, message = outcome.waiting, outcome.message
        if reason == "ErrImagePull":
            self._event("Normal", "Pulling", f'Pulling image "{self._image}"')
            self._event("Warning", "Failed", f'Failed to pull image "{self._image}": {message}')
        self._event("Warning", "Failed", f"Error: {reason}")
        delay = self._pace.back_off
        while True:
            state = {"waiting": {"reason": reason, "message": message}}
            self._state(state, phase="Pending", ready=False, started=False)
            await self._pause(delay)
            if outcome.waiting == "ErrImagePull":
                if reason == "ErrImagePull":
                    reason, message = (
                        "ImagePullBackOff",
                        f'Back-off pulling image "{self._image}": ErrImagePull: {outcome.message}',
                    )
                    self._event("Normal", "BackOff", f'Back-off pulling image "{self._image}"')
                    self._event("Warning", "Failed", "Error: ImagePullBackOff")
                else:
                    reason, message = "ErrImagePull", outcome.message
            fresh = self._kubelet.server.images.outcome(self.pod)
            if not fresh.waiting:
                return
            delay = min(delay * 2, self._pace.back_off * _MOST_BACK_OFF)

    def _missing_volume(self) -> str:
        for volume in self.pod["spec"].get("volumes") or ():
            secret = volume.get("secret")
            sources = [s["secret"] for s in (volume.get("projected") or {}).get("sources") or () if "secret" in s]
            names = [(s.get("name"), s.get("optional")) for s in sources]
            if secret is not None:
                names.append((secret.get("secretName"), secret.get("optional")))
            for name, optional in names:
                if name and not optional and self._kubelet.engine.peek("secrets", self.key[0], name) is None:
                    return f'"{volume["name"]}" : secret "{name}" not found'
        return ""

    async def _missing_environment(self) -> None:
        while True:
            missing = ""
            for item in self.pod["spec"]["containers"][0].get("env") or ():
                source = (item.get("valueFrom") or {}).get("secretKeyRef")
                if not source or source.get("optional"):
                    continue
                if self._kubelet.engine.peek("secrets", self.key[0], source["name"]) is None:
                    missing = f'secret "{source["name"]}" not found'
            if not missing:
                return
            state = {"waiting": {"reason": "CreateContainerConfigError", "message": missing}}
            self._state(state, phase="Pending", ready=False, started=False)
            await self._pause(self._pace.back_off)

    async def _once(self, outcome: Outcome) -> int:
        """Run the container until it exits."""
        if outcome.start_error:
            return 128
        for container in self.pod["spec"]["containers"]:
            self._kubelet.log(self.uid, container["name"]).begin()
        log = self._kubelet.log(self.uid, self.pod["spec"]["containers"][0]["name"])
        self._started = stamp()
        running = {"running": {"startedAt": self._started}}
        if outcome.process is not None:
            starting = asyncio.ensure_future(Running.start(self._kubelet, self.pod, outcome.process, log))
            try:
                self.running = await asyncio.shield(starting)
            except asyncio.CancelledError:
                self.running = await starting  # Whoever cancels kills it.
                raise
            self.address = self.running.address
        for line in outcome.log:
            log.write(line)
        has_probe = "readinessProbe" in self.pod["spec"]["containers"][0]
        ends_soon = bool(outcome.exits) and not outcome.runs
        at_once = outcome.ready and not has_probe and not outcome.ready_after and outcome.process is None
        self._event("Normal", "Created", "Container created")
        self._event("Normal", "Started", "Container started")
        self._state(running, phase="Running", ready=at_once and not ends_soon, started=True)
        if outcome.exits:
            await self._pause(outcome.runs or self._pace.start)
            return outcome.exits[min(self._restarts, len(outcome.exits) - 1)]
        if self.running is not None:
            return await self._watch_process(outcome, running)
        if not at_once and outcome.ready:
            await self._pause(outcome.ready_after or self._pace.ready)
            self._state(running, phase="Running", ready=True, started=True)
        elif not outcome.ready:
            self._event("Warning", "Unhealthy", "Readiness probe failed: scripted")
        await self._ending.wait()
        raise _Ending

    async def _watch_process(self, outcome: Outcome, state: Json) -> int:
        process = self.running
        assert process is not None
        was = False
        failures = 0
        container = self.pod["spec"]["containers"][0]
        most = int((container.get("readinessProbe") or {}).get("failureThreshold", 3))
        loop = asyncio.get_running_loop()
        first = loop.time() + self._pace.first_probe
        while True:
            if process.returncode is not None:
                await process.clear()
                self.running = None
                return process.returncode
            is_ready = outcome.ready and loop.time() >= first and await process.is_ready(container)
            failures = 0 if is_ready else failures + 1
            if is_ready != was and (is_ready or failures >= most):
                was = is_ready
                self._state(state, phase="Running", ready=is_ready, started=True)
            await self._pause(self._pace.probe if was else self._pace.probe / 5)

    async def _after_exit(self, outcome: Outcome, code: int) -> bool:
        """Write how the container ended; False when it is not started again."""
        if outcome.start_error:
            return await self._not_started(outcome)
        reason = "OOMKilled" if outcome.oom else ("Completed" if code == 0 else "Error")
        log = self._kubelet.log(self.uid, self.pod["spec"]["containers"][0]["name"])
        ended = podstatus.terminated(self.pod, code, reason, self._started, log)
        policy = self.pod["spec"].get("restartPolicy", "Always")
        if policy == "Never" or (policy == "OnFailure" and code == 0):
            phase = "Succeeded" if code == 0 else "Failed"
            why = "PodCompleted" if code == 0 else "PodFailed"
            self._state(ended, phase="Running", ready=False, started=False, why=why)
            self._state(ended, phase=phase, ready=False, started=False, sandbox=False, why=why)
            self._kubelet.end_logs(self.uid)
            return False
        if not outcome.killed and not outcome.start_error:
            self._state(ended, phase="Running", ready=False, started=False)
        self._last = ended
        if self._restarts > (1 if outcome.killed else 0):
            await self._back_off()
        self._restarts += 1
        return True

    async def _not_started(self, outcome: Outcome) -> bool:
        """A command that is not there: the container fails before it runs."""
        text = outcome.start_error
        self._last = podstatus.terminated(self.pod, 128, "StartError", "1970-01-01T00:00:00Z")
        self._last["terminated"]["message"] = text
        waiting = {"waiting": {"reason": "RunContainerError", "message": text}}
        self._state(waiting, phase="Running", ready=False, started=False)
        if self._restarts:
            await self._back_off()
        else:
            await self._pause(self._pace.start)
        self._restarts += 1
        return True

    async def _back_off(self) -> None:
        await self._pause(self._pace.notice)
        seconds = 10 * 2 ** min(self._back_offs, 5)
        namespace, name = self.key
        container = self.pod["spec"]["containers"][0]["name"]
        text = f"back-off {seconds}s restarting failed container={container} "
        text += f"pod={name}_{namespace}({self.uid})"
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": text}}
        self._event(
            "Warning",
            "BackOff",
            f"Back-off restarting failed container {container} in pod {name}_{namespace}({self.uid})",
        )
        self._state(state, phase="Running", ready=False, started=False)
        await self._pause(self._pace.back_off * min(2**self._back_offs, _MOST_BACK_OFF))
        self._back_offs += 1

    async def _end(self) -> None:
        """Terminate within the grace period, then take the Pod out of the API."""
        fresh = self._kubelet.engine.peek("pods", *self.key)
        if fresh is None or fresh["metadata"]["uid"] != self.uid:
            await self._stop_process(0)
            return
        self.pod = fresh
        self._write(podstatus.observe)
        self._event("Normal", "Killing", "Stopping container")
        seconds = float(fresh["metadata"].get("deletionGracePeriodSeconds") or 0)
        code: int | None = None
        if self.running is not None:
            await self._before_stop()
            code = await self._stop_process(seconds * self._pace.grace_scale)
        elif self._started:
            await asyncio.sleep(self._pace.stop)
            code = self._kubelet.server.images.outcome(self.pod).stop_code
        else:
            await self._give_up()
        if self._started and code is not None:
            reason = "Completed" if code == 0 else "Error"
            ended = podstatus.terminated(self.pod, code, reason, self._started)
            phase, why = ("Succeeded", "PodCompleted") if code == 0 else ("Failed", "PodFailed")
            self._state(ended, phase=phase, ready=False, started=False, sandbox=False, why=why)
        self._kubelet.remove(self.pod)
        self._kubelet.end_logs(self.uid)
        self._kubelet.logs.pop(self.uid, None)

    async def _give_up(self) -> None:
        """End a Pod whose container never ran."""
        waiting = {"waiting": {"reason": "ContainerCreating"}}
        self._state(waiting, phase="Pending", ready=False, started=False)
        self._state(waiting, phase="Pending", ready=False, started=False, sandbox=False)
        await asyncio.sleep(self._pace.stop)
        unknown = {
            "exitCode": 137,
            "reason": "ContainerStatusUnknown",
            "message": "The container could not be located when the pod was terminated",
            "startedAt": None,
            "finishedAt": None,
        }
        self._state({"terminated": unknown}, phase="Failed", ready=False, started=False, sandbox=False)

    async def _before_stop(self) -> None:
        """The container's preStop hook, when it is a sleep; an exit ends it early."""
        hook = (self.pod["spec"]["containers"][0].get("lifecycle") or {}).get("preStop") or {}
        seconds = float((hook.get("sleep") or {}).get("seconds", 0)) * self._pace.pre_stop_scale
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0:
            if self.running is None or self.running.returncode is not None:
                return
            await asyncio.sleep(min(left, self._pace.probe))

    async def _stop_process(self, seconds: float) -> int | None:
        if self.running is None:
            return None
        code = await self.running.stop(seconds)
        self.running = None
        return code


class _Ending(Exception):
    """The Pod is being deleted."""
