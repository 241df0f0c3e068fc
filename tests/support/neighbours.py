"""Two tenants on one platform: one that floods (`support.floods`), and one that is watched meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from support import floods
from support.platform import Platform, until

QUIET = "quiet"
HANDLER = "ghcr.io/openfaas/nodeinfo:latest"
"""Ships with the platform; its handler is Python."""
RATE = 50.0
CONNECTIONS = 4
"""For each kind of request: one answer that takes its time does not hold up the next request."""
_OVER = 5.0
"""Seconds after the end in which what was due before may still be sent."""
LIMITS = {
    "rate": "200",
    "concurrency": "40",
    "held": "20",
    "held-bytes": "8Mi",
    "connections": "20",
    "starts": "2",
    "api-writes": "5",
    "log-bytes": "64Ki",
}
"""What an administrator would set for a tenant that is not trusted to be reasonable."""


@dataclass
class Seen:
    """What the watched tenant met."""

    times: dict[str, list[float]] = field(default_factory=dict)
    """Seconds from when each request was to be sent, by what was asked."""
    errors: list[str] = field(default_factory=list)


class Neighbours:
    """A platform with both tenants on it, ready to be flooded."""

    def __init__(
        self,
        platform: Platform,
        *,
        limits: bool,
        image: str = "",
        cold: int = floods.COLD,
        spinning: int = floods.REPLICAS,
    ) -> None:
        self.platform = platform
        self.port = int(urlsplit(platform.url).port or 0)
        self.paths = [f"/function/python.{QUIET}"]
        given = LIMITS if limits else {}
        self._namespace(floods.TENANT, {f"com.hilbert.limits.{key}": value for key, value in given.items()})
        self._namespace(QUIET, {})
        self._deploy(QUIET, "python", image=HANDLER)
        self._deploy(QUIET, "waking", image=HANDLER)
        if image:
            self._deploy(QUIET, "image", image=image)
            self.paths.append(f"/function/image.{QUIET}")
        for name, process in floods.FUNCTIONS.items():
            replicas = spinning if name == "spin" else 1
            self._deploy(floods.TENANT, name, process=process, min=replicas, memory="64Mi")
        for number in range(cold):
            self._deploy(floods.TENANT, f"cold{number}", process="cat", replicas=0)
        for namespace, names in ((QUIET, self.paths), (floods.TENANT, [f"/function/echo.{floods.TENANT}"])):
            for path in names:
                until(
                    lambda path=path: platform.call(path, b"x").status == 200,  # type: ignore[misc]
                    within=90,
                    what=f"{path} of {namespace}",
                    log=lambda: platform.log,
                )
        self.tokens = {name: self._token(name) for name in (floods.TENANT, QUIET)}

    def _namespace(self, name: str, annotations: dict[str, str]) -> None:
        body = {"name": name, "labels": {"openfaas": "1"}, "annotations": annotations}
        answer = self.platform.api("POST", "/system/namespace/", body)
        assert answer.status == 201, answer.text

    def _deploy(
        self,
        namespace: str,
        name: str,
        *,
        image: str = "functions/alpine:latest",
        process: str = "",
        min: int = 1,  # noqa: A002 - as the label
        replicas: int = 1,
        memory: str = "",
    ) -> None:
        spec: dict[str, Any] = {"service": name, "namespace": namespace, "image": image}
        if process:
            spec["envVars"] = {"mode": "streaming"}
            spec |= {"envProcess": f'sh -c "{process}"' if process != "cat" else "cat"}
        if min > 1:
            spec["labels"] = {"com.openfaas.scale.min": str(min)}
        if memory:
            spec["limits"] = {"memory": memory}
        answer = self.platform.api("POST", "/system/functions", spec)
        assert answer.status == 202, answer.text
        if not replicas:
            path = f"/system/scale-function/{name}?namespace={namespace}"
            assert self.platform.api("POST", path, {"replicas": 0}).status == 202

    def _token(self, namespace: str) -> str:
        body = {"name": namespace, "role": "owner", "namespaces": [namespace]}
        answer = self.platform.api("POST", "/system/tokens", body)
        assert answer.status == 201, answer.text
        return str(json.loads(answer.body)["token"])

    @contextlib.contextmanager
    def flood(self, kinds: Sequence[str]) -> Iterator[dict[str, dict[str, int]]]:
        """Flood while the block runs, all kinds from its beginning; what each was answered is there afterwards."""
        command = [sys.executable, "-m", "support.floods"]
        told: dict[str, dict[str, int]] = {}
        with contextlib.ExitStack() as stack:
            running: dict[str, subprocess.Popen[str]] = {}
            for kind in kinds:
                running[kind] = stack.enter_context(
                    subprocess.Popen(
                        [*command, kind, str(self.port), self.tokens[floods.TENANT]],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                        cwd=Path(__file__).parent.parent,
                    )
                )
                stack.callback(running[kind].kill)
            for kind, process in running.items():
                assert process.stdout is not None
                assert process.stdout.readline() == "begun\n", kind
            yield told
            for kind, process in running.items():
                told[kind] = json.loads(process.communicate(timeout=60)[0])

    def watch(self, seconds: float, *, rate: float = RATE, cold: bool = True) -> Seen:
        """Calls of the quiet tenant on schedule, API reads, and starts from zero, one after the other."""
        seen = Seen()
        end = time.monotonic() + seconds
        bearer = {"Authorization": f"Bearer {self.tokens[QUIET]}"}
        work: list[tuple[str, str, float, dict[str, str]]] = [
            *(("call" if "python" in path else "image", path, rate, {}) for path in self.paths),
            ("API", f"/system/functions?namespace={QUIET}", rate / 5, bearer),
        ]
        threads = [
            threading.Thread(target=self._ask, args=(seen, end, number, *one))
            for one in work
            for number in range(CONNECTIONS)
        ]
        if cold:
            threads.append(threading.Thread(target=self._wake, args=(seen, end)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return seen

    def _ask(
        self, seen: Seen, end: float, number: int, what: str, path: str, rate: float, headers: dict[str, str]
    ) -> None:
        """Over connection `number` of those for this kind. What could not be sent in time is an error, too."""
        times = seen.times.setdefault(what, [])
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        due = time.monotonic() + number / rate
        while not times or due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() > end + _OVER:
                seen.errors.append(f"{what}: {int((end - due) * rate / CONNECTIONS) + 1} requests could not be sent")
                break
            try:
                connection.request("GET" if headers else "POST", path, b"" if headers else b"x" * 32, headers)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    seen.errors.append(f"{what}: {answer.status}: {body[:200]!r}")
            except (OSError, http.client.HTTPException) as exc:
                seen.errors.append(f"{what}: {type(exc).__name__}: {exc}")
                connection.close()
            times.append(time.monotonic() - due)
            due += CONNECTIONS / rate
        connection.close()

    def _wake(self, seen: Seen, end: float) -> None:
        times = seen.times.setdefault("cold start", [])
        path = f"/system/scale-function/waking?namespace={QUIET}"
        while not times or time.monotonic() < end:
            self.platform.api("POST", path, {"replicas": 0})
            until(self._is_asleep, within=60, what="the function to be at zero", log=lambda: self.platform.log)
            began = time.monotonic()
            answer = self.platform.call(f"/function/waking.{QUIET}", b"x")
            times.append(time.monotonic() - began)
            if answer.status != 200:
                seen.errors.append(f"cold start: {answer.status}: {answer.text[:200]}")

    def _is_asleep(self) -> bool:
        answer = self.platform.api("GET", f"/system/function/waking?namespace={QUIET}")
        return answer.status == 200 and not json.loads(answer.body).get("availableReplicas", 0)

    def memory(self) -> dict[str, int]:
        """Resident bytes of the platform's own processes, by what they are."""
        found: dict[str, int] = {}
        for module in ("hilbert.server.control", "hilbert.dataplane.worker"):
            for process in self.platform.children(module):
                with contextlib.suppress(psutil.NoSuchProcess):
                    found[module] = max(found.get(module, 0), process.memory_info().rss)
        return found
