"""The same images under Docker, in a network namespace of its own so that nothing of it reaches the machine's network.

A dockerd is started for the measurement, and removed after it with all that it made.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import ROOT

_NAMESPACE = "hb-bench-docker"
_READY_MOST = 60.0


def missing() -> str:
    """Why Docker cannot be measured here; empty when it can."""
    if os.geteuid() != 0:
        return "it takes root"
    lacking = [name for name in ("dockerd", "containerd", "nsenter", "ip") if shutil.which(name) is None]
    return f"{', '.join(lacking)} not installed" if lacking else ""


def measure(folder: Path, images: Mapping[str, Path], runs: int) -> Mapping[str, Any]:
    """Empty where it cannot be."""
    if missing():
        return {}
    with _daemon(folder / "docker") as where:
        for name, file in images.items():
            _load(where, name, file)
        script = ["nsenter", f"--net=/run/netns/{_NAMESPACE}", sys.executable, "-m", "bench.docker_starts"]
        done = subprocess.run([*script, str(where), str(runs), *images], check=True, cwd=ROOT, stdout=subprocess.PIPE)
        return {"Docker": json.loads(done.stdout)}


class _Connection(http.client.HTTPConnection):
    """To the daemon's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("docker")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def _ask(where: Path, method: str, path: str, body: object = None) -> Any:
    connection = _Connection(where)
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
    connection.request(method, path, data, {"Content-Type": kind})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status >= 400:
        raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
    return json.loads(text) if text.startswith((b"{", b"[")) and b"\n{" not in text else text


@contextlib.contextmanager
def _daemon(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    (folder / "daemon.json").write_text("{}")
    subprocess.run(["ip", "netns", "add", _NAMESPACE], check=True)
    enter = ["nsenter", f"--net=/run/netns/{_NAMESPACE}"]
    socket_path = folder / "docker.sock"
    command = [*enter, "dockerd", "--data-root", str(folder / "root"), "--exec-root", str(folder / "exec")]
    command += [
        "--pidfile",
        str(folder / "pid"),
        "-H",
        f"unix://{socket_path}",
        "--config-file",
        str(folder / "daemon.json"),
    ]
    daemon = None
    try:
        subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True)
        with (folder / "log").open("w") as output:
            daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        end = time.monotonic() + _READY_MOST
        while True:
            with contextlib.suppress(OSError):
                _ask(socket_path, "GET", "/_ping")
                break
            if time.monotonic() > end or daemon.poll() is not None:
                raise RuntimeError(f"dockerd did not start: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.05)
        yield socket_path
    finally:
        if daemon is not None:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait()
        subprocess.run(["ip", "netns", "del", _NAMESPACE], check=False)


def _load(where: Path, name: str, file: Path) -> None:
    """Docker 20.10 reads no OCI layouts, so it gets what our own export writes."""
    import asyncio

    from hilbert.images.store import OciStore

    store = OciStore(file.parent / f"store-{name}")
    asyncio.run(store.load(file, "", name=f"{name}:latest"))
    exported = file.with_suffix(".docker.tar")
    store.export(f"{name}:latest", "", exported)
    _ask(where, "POST", "/images/load", exported.read_bytes())


def _starts(where: Path, image: str, runs: int) -> Mapping[str, Sequence[float]]:
    starts, thaws, memory = [], [], []
    for _ in range(runs + 1):
        began = time.perf_counter()
        made = _ask(where, "POST", "/containers/create", {"Image": image, "HostConfig": {"Memory": 512 << 20}})["Id"]
        _ask(where, "POST", f"/containers/{made}/start")
        address = _ask(where, "GET", f"/containers/{made}/json")["NetworkSettings"]["IPAddress"]
        while not _answers(address):
            time.sleep(0.0005)
        starts.append((time.perf_counter() - began) * 1e3)
        memory.append(
            _ask(where, "GET", f"/containers/{made}/stats?stream=false&one-shot=true")["memory_stats"]["usage"]
        )
        _ask(where, "POST", f"/containers/{made}/pause")
        began = time.perf_counter()
        _ask(where, "POST", f"/containers/{made}/unpause")
        while not _answers(address):
            time.sleep(0.0005)
        thaws.append((time.perf_counter() - began) * 1e3)
        _ask(where, "DELETE", f"/containers/{made}?force=true")
    return {"start": starts[1:], "thaw": thaws[1:], "memory": memory[1:]}


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 8080), timeout=2) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(16).startswith(b"HTTP/1.")
    except OSError:
        return False


if __name__ == "__main__":
    print(json.dumps({image: _starts(Path(sys.argv[1]), image, int(sys.argv[2])) for image in sys.argv[3:]}))
