"""Real processes as containers: a listening socket at the Pod's own loopback address is handed to each."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kubernetes_double.serving.status import Json

if TYPE_CHECKING:
    from kubernetes_double.controllers.kubelet import Kubelet
    from kubernetes_double.controllers.podlog import PodLog
    from kubernetes_double.controllers.scripts import Process

_PORT = 8080


class Running:
    """One process."""

    def __init__(
        self, process: asyncio.subprocess.Process, address: str, folder: Path, pump: asyncio.Task[None]
    ) -> None:
        self.address = address
        self._process = process
        self.folder = folder
        self._pump = pump

    @classmethod
    async def start(cls, kubelet: Kubelet, pod: Json, process: Process, log: PodLog) -> Running:
        container = pod["spec"]["containers"][0]
        port = next((p["containerPort"] for p in container.get("ports") or ()), _PORT)
        sock, address = _listen(kubelet, port)
        if process.listens:
            sock.close()
        folder = Path(tempfile.mkdtemp(prefix="hb-pod-"))
        env = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HOSTNAME": pod["metadata"]["name"],
        }
        env["KUBERNETES_SERVICE_HOST"], _, env["KUBERNETES_SERVICE_PORT"] = kubelet.server.address.partition(":")
        env |= process.env
        env |= _environment(kubelet, pod, container)
        env["HILBERT_SECRETS_DIR"] = str(_mounts(kubelet, pod, folder))
        _account(kubelet, pod, folder)
        _volumes(pod, folder)
        if not process.listens:
            env["HILBERT_LISTEN_FD"] = str(sock.fileno())

        def filled(text: str) -> str:
            return text.replace("{address}", address).replace("{folder}", str(folder))

        env |= {name: filled(text) for name, text in process.over.items()}
        try:
            child = await asyncio.create_subprocess_exec(
                *(filled(word) for word in process.argv),
                *container.get("args", ()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=env,
                cwd=folder,
                pass_fds=() if process.listens else (sock.fileno(),),
                start_new_session=True,
            )
        finally:
            sock.close()
        return cls(child, address, folder, asyncio.create_task(_copy(child, log)))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        code = self._process.returncode
        return code if code is None or code >= 0 else 128 - code

    async def is_ready(self, container: Json) -> bool:
        """Ask as the readiness probe asks; without one the process is ready as soon as it accepts."""
        probe = container.get("readinessProbe") or {}
        get = probe.get("httpGet") or {}
        ports = {port.get("name"): port["containerPort"] for port in container.get("ports") or ()}
        port = get.get("port") or (probe.get("tcpSocket") or {}).get("port") or next(iter(ports.values()), _PORT)
        number = ports.get(port, port)
        seconds = float(probe.get("timeoutSeconds", 1))
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_connection(self.address, int(number))
                try:
                    if not get:
                        return True
                    path = get.get("path", "/")
                    head = f"GET {path} HTTP/1.1\r\nHost: {self.address}\r\nUser-Agent: kube-probe/1.36\r\nConnection: close\r\n\r\n"
                    writer.write(head.encode())
                    line = await reader.readline()
                    parts = line.split()
                    return len(parts) > 1 and 200 <= int(parts[1]) < 400
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError):
            return False

    async def stop(self, seconds: float) -> int:
        """SIGTERM, and SIGKILL once the grace is over; the exit code."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(max(seconds, 0.05)):
                await self._process.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._process.wait()
        await self._clean()
        return self.returncode or 0

    async def kill(self) -> None:
        self._signal(signal.SIGKILL)
        await self._process.wait()
        await self._clean()

    async def clear(self) -> None:
        """After its end: with a container's first process all others in it end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._clean()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                if number is signal.SIGKILL:
                    os.killpg(self._process.pid, number)
                else:
                    self._process.send_signal(number)

    async def _clean(self) -> None:
        await asyncio.gather(self._pump, return_exceptions=True)
        shutil.rmtree(self.folder, ignore_errors=True)


async def _copy(child: asyncio.subprocess.Process, log: PodLog) -> None:
    assert child.stdout is not None
    while line := await child.stdout.readline():
        log.write(line.decode("utf-8", "replace").rstrip("\n"))


def _listen(kubelet: Kubelet, port: int) -> tuple[socket.socket, str]:
    for _ in range(1000):
        address = kubelet.next_address()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
            sock.listen(128)
        except OSError:
            sock.close()
            continue
        return sock, address
    raise OSError(f"no loopback address with port {port} free")


def _environment(kubelet: Kubelet, pod: Json, container: Json) -> dict[str, str]:
    env: dict[str, str] = {}
    namespace = pod["metadata"]["namespace"]
    for item in container.get("env") or ():
        source = item.get("valueFrom") or {}
        if "secretKeyRef" in source:
            reference = source["secretKeyRef"]
            secret = kubelet.engine.peek("secrets", namespace, reference["name"]) or {}
            raw = (secret.get("data") or {}).get(reference["key"])
            if raw is not None:
                env[item["name"]] = base64.b64decode(raw).decode()
        elif "fieldRef" in source:
            path = source["fieldRef"]["fieldPath"]
            values = {
                "metadata.name": pod["metadata"]["name"],
                "metadata.namespace": namespace,
                "metadata.uid": pod["metadata"]["uid"],
            }
            env[item["name"]] = values.get(path, "")
        else:
            env[item["name"]] = item.get("value", "")
    return env


def _mounts(kubelet: Kubelet, pod: Json, folder: Path) -> Path:
    """Secrets as files, all in one folder: that of /var/openfaas/secrets."""
    target = folder / "secrets"
    target.mkdir()
    namespace = pod["metadata"]["namespace"]
    for volume in pod["spec"].get("volumes") or ():
        sources = [
            source["secret"] for source in (volume.get("projected") or {}).get("sources") or () if "secret" in source
        ]
        if "secret" in volume:
            sources.append({**volume["secret"], "name": volume["secret"].get("secretName")})
        for source in sources:
            secret = kubelet.engine.peek("secrets", namespace, source.get("name", "")) or {}
            data = secret.get("data") or {}
            items = source.get("items") or [{"key": key, "path": key} for key in data]
            for item in items:
                if item["key"] in data:
                    path = target / item["path"]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(base64.b64decode(data[item["key"]]))
    return target


def _volumes(pod: Json, folder: Path) -> None:
    """A folder for each emptyDir, as a kubelet makes it: root's, writable for all, of the Pod's group."""
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    for volume in pod["spec"].get("volumes") or ():
        if "emptyDir" in volume:
            target = folder / "volumes" / volume["name"]
            target.mkdir(parents=True)
            if group is not None and os.geteuid() == 0:
                os.chown(target, 0, group)
            target.chmod(0o2777)


def _account(kubelet: Kubelet, pod: Json, folder: Path) -> None:
    """The files by which a Pod speaks to the API server, unless it wants none."""
    if pod["spec"].get("automountServiceAccountToken") is False:
        return
    server = kubelet.server
    namespace = pod["metadata"]["namespace"]
    name = pod["spec"].get("serviceAccountName", "default")
    target = folder / "account"
    target.mkdir()
    (target / "token").write_text(server.token(f"system:serviceaccount:{namespace}:{name}"))
    (target / "namespace").write_text(namespace)
    if server.authority is not None:
        shutil.copy(server.authority, target / "ca.crt")
