"""A whole platform in subprocesses, as a user runs it, for the end-to-end tests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

import psutil

HILBERT = str(Path(sys.executable).parent / "hilbert")


@dataclass
class Answer:
    """What an HTTP call gave."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""

    @property
    def text(self) -> str:
        return self.body.decode()


class Platform:
    """`python -m hilbert.server` with folders of its own, on ports that the kernel picks."""

    def __init__(self, *settings: str, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="hb-"))
        self.settings = settings
        self.command: Sequence[str] = (sys.executable,)
        """The interpreter that the platform runs with, and what runs that."""
        self.process: subprocess.Popen[bytes] | None = None
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OPENFAAS_", "HILBERT_"))},
            "HILBERT_STATE_DIR": str(self.folder / "s"),
            "HILBERT_RUN_DIR": str(self.folder / "r"),
            "HILBERT_GATEWAY__PORT": "0",
            "HILBERT_GATEWAY__METRICS_PORT": "0",
            "HILBERT_LOG__LEVEL": "debug",
            "OPENFAAS_CONFIG": str(self.folder / "client"),
            "HILBERT_PROCESS__SPARES": "0",  # They would be made for each of the many platforms of tests.
            "NO_COLOR": "1",
        }

    @property
    def state(self) -> Path:
        return self.folder / "s"

    @property
    def log(self) -> str:
        """What the platform wrote to stderr."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, *, within: float = 60.0) -> Platform:
        """Start, and wait until the gateway says where it is."""
        # A file left by a platform that was killed must not be taken for the new one's.
        (self.state / "gateway.json").unlink(missing_ok=True)
        flags = [part for setting in self.settings for part in ("--set", setting)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "-m", "hilbert.server", *flags],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        until(lambda: self._is_up(), within=within, what="the platform to start", log=lambda: self.log)
        return self

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the platform ended with {self.process.returncode}:\n{self.log}")
        return (self.state / "gateway.json").exists()

    @property
    def facts(self) -> dict[str, object]:
        """`gateway.json`."""
        facts: dict[str, object] = json.loads((self.state / "gateway.json").read_text())
        return facts

    @property
    def url(self) -> str:
        return str(self.facts["url"])

    @property
    def password(self) -> str:
        return (self.state / "auth" / "basic-auth-password").read_text().strip()

    def stop(self, *, within: float = 60.0) -> int:
        """Ask it to stop and wait; returns the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(within)

    def children(self, module: str) -> list[psutil.Process]:
        """The platform's own child processes that run `module`, e.g. `hilbert.server.control`."""
        assert self.process is not None
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if module in child.cmdline():
                    found.append(child)
        return found

    def processes(self) -> list[psutil.Process]:
        """Every process on this machine that works with this platform's folders, replicas in their sandboxes included."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError):
                if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and self._owns(process):
                    found.append(process)
        return found

    def replicas(self) -> list[psutil.Process]:
        """One process of each replica: the first in its sandbox. Spare sandboxes that nobody has moved into are none."""
        found = {
            process.pid: process for process in self.processes() if is_replica(process) and not self._waits(process)
        }
        firsts = []
        for process in found.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.ppid() not in found:
                    firsts.append(process)
        return firsts

    def _waits(self, process: psutil.Process) -> bool:
        """Whether it is of a spare sandbox that nobody has moved into."""
        with contextlib.suppress(psutil.Error, OSError):
            told = process.environ().get("HILBERT_REPLICA", "") + Path(f"/proc/{process.pid}/mountinfo").read_text()
            names = set(re.findall(r"/(spare-[0-9a-f]{8})", told))
            return any((self.folder / "r" / "r" / name / "spare").exists() for name in names)
        return False

    def _owns(self, process: psutil.Process) -> bool:
        folder = str(self.folder)
        if (
            any(folder in word for word in process.cmdline())
            or process.environ().get("HILBERT_RUN_DIR") == f"{folder}/r"
        ):
            return True
        # A replica in bubblewrap shows by what is mounted in it.
        return folder in Path(f"/proc/{process.pid}/mountinfo").read_text().replace("\\040", " ") and (
            Path(f"/proc/{process.pid}/ns/mnt").readlink() != Path("/proc/self/ns/mnt").readlink()
        )

    def kill_everything(self) -> None:
        """`kill -9` of the supervisor, its children and all replicas at once."""
        assert self.process is not None
        until(self._kill_all, what="every process to be gone")
        self.process.wait(10)

    def _kill_all(self) -> bool:
        """Kill what is there; true once nothing is. What is dying may start something yet, so this is repeated."""
        found = self.processes()
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return not found

    def close(self) -> None:
        """Stop, and remove the folders. Kills what is left."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self.process is not None:
            self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def hilbert(
        self, *words: str, stdin: bytes = b"", expect: int | None = 0, timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the installed command as a user would; `expect=None` takes any exit status."""
        done = subprocess.run(
            [HILBERT, *words], env=self.environ, input=stdin, capture_output=True, timeout=timeout, cwd=self.folder
        )
        if expect is not None and done.returncode != expect:
            raise AssertionError(
                f"hilbert {' '.join(words)}: exit status {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
                f"\n--- platform ---\n{self.log[-6000:]}"
            )
        return done

    def call(
        self,
        path: str,
        body: bytes | None = None,
        *,
        method: str = "",
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Answer:
        """Call the gateway without credentials."""
        request = urllib.request.Request(self.url + path, data=body, headers=dict(headers or {}), method=method or None)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return Answer(answer.status, answer.read(), _lowered(answer.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), _lowered(error.headers))

    def api(self, method: str, path: str, body: object = None) -> Answer:
        """Call the REST API with the platform's own credentials."""
        token = b64encode(f"admin:{self.password}".encode()).decode()
        data = None if body is None else json.dumps(body).encode()
        return self.call(
            path, data, method=method, headers={"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        )


def command(process: psutil.Process) -> list[str]:
    """Empty for one that is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def is_replica(process: psutil.Process) -> bool:
    """Whether it is a watchdog; one that is gone is not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return "runtimes/process/entry" in " ".join(process.cmdline()) and process.name() != "bwrap"
    return False


def _lowered(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def until(
    truth: Callable[[], object], *, within: float = 20.0, what: str = "a condition", log: Callable[[], str] = lambda: ""
) -> None:
    """Wait until `truth()` holds. Raises `AssertionError` with `log()` when it does not in time."""
    end = time.monotonic() + within
    while not truth():
        if time.monotonic() > end:
            raise AssertionError(f"waited {within:.0f} s for {what}\n{log()[-6000:]}")
        time.sleep(0.01)


@contextlib.contextmanager
def running(*settings: str) -> Iterator[Platform]:
    """A started platform that is cleaned up; fails when it leaves a process behind."""
    platform = Platform(*settings)
    try:
        yield platform.start()
        if platform.process is not None and platform.process.poll() is None:
            platform.stop()
        until(lambda: not platform.processes(), within=5, what="every process to end", log=lambda: platform.log)
    finally:
        platform.close()
