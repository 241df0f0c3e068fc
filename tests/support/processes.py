"""A host provider on the real process runtime, at a chosen sandbox level."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import psutil
import pytest

from hilbert.core.bundle import Manifest, Mode
from hilbert.core.errors import InvalidSettings
from hilbert.core.isolation import Promise
from hilbert.core.model import Endpoint
from hilbert.core.ports import ReplicaPlan, Runtime
from hilbert.core.settings import DefaultLimitSettings, ProcessSettings, ProviderSettings
from hilbert.core.values import Duration, Quantity
from hilbert.images.model import LocalImage
from hilbert.images.store import OciStore
from hilbert.providers.host import HostProvider, open_database
from hilbert.runtimes.host import HostRuntime
from hilbert.runtimes.logs.folder import LogFolder
from hilbert.runtimes.network.client import Network
from hilbert.runtimes.oci import engines, user_ids
from hilbert.runtimes.oci.program import Program
from hilbert.runtimes.oci.way import Way, Ways
from hilbert.runtimes.process.images import ImageStore
from hilbert.runtimes.process.machine import Machine
from hilbert.testing.harness import Alone, eventually
from support.container_images import missing_for_images, store_of_tests

LEVELS = ("bubblewrap", "landlock", "process")
RUNTIMES = (*LEVELS, "image")
"""Bundles at each level, and container images."""
ENGINES = ("crun", "runc", "runsc")
"""Container images under other programs than bubblewrap."""

ECHO = """
def handle(event, context):
    print(f"called with {len(event.body)} bytes", flush=True)
    return {"statusCode": 200, "body": event.body}
"""

RUN = """
import contextlib, io

def handle(event, context):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(event.body.decode(), {})
        except BaseException as exc:
            print(type(exc).__name__, exc)
    return {"statusCode": 200, "body": out.getvalue()}
"""
"""Runs what it is sent, and answers with what that printed."""

BROKEN = "raise RuntimeError('this function is broken')\n"


def write_bundle(folder: Path, name: str, handler: str = "", **manifest: object) -> None:
    """A function as those that ship with Hilbert, under the image name `name`."""
    (folder / name).mkdir(parents=True)
    fields: Mapping[str, object] = {"mode": Mode.PYTHON, "handler": "handler.py", **manifest}
    content = Manifest(images=(name,), **fields)  # type: ignore[arg-type]  # fields of the manifest
    (folder / name / "handler.py").write_text(handler)
    (folder / name / "bundle.json").write_bytes(msgspec.json.encode(content))


def is_of(process: psutil.Process, folder: Path) -> bool:
    """Whether a replica in `folder` is this process's: by its command line, or by the files that it has open."""
    if process.pid == os.getpid():
        return False
    with contextlib.suppress(psutil.Error, OSError):
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if any(str(folder) in part for part in process.cmdline()):
            return True
        for name in os.listdir(f"/proc/{process.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                if str(folder) in os.readlink(f"/proc/{process.pid}/fd/{name}"):
                    return True
    return False


def missing_here(level: str) -> str:
    """What this machine lacks for the level, found without any of our code; empty when the level has to work."""
    if level == "bubblewrap":
        if shutil.which("bwrap") is None:
            return "bubblewrap is not installed"
        bare = ["bwrap", "--ro-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "true"]
        if subprocess.run(bare, capture_output=True, check=False).returncode != 0:
            return "bubblewrap does not work here (no user namespaces?)"
    create_ruleset, ask_version = 444, 1
    if level == "landlock" and ctypes.CDLL(None).syscall(create_ruleset, None, 0, ask_version) < 1:
        return "this kernel has no Landlock"
    return ""


class _Many(Ways):
    """Takes every image for one that needs several ids."""

    @classmethod
    def of(cls, ways: Ways) -> _Many:
        return cls(ways._machine, ways._bubblewrap, ways._abilities, ways._engines)

    async def choose(self, plan: ReplicaPlan, image: LocalImage, program: Program) -> Way:
        return await self._many(plan, image, program, "the test says so")


class ProcessHarness(Alone):
    """For the contract, and for tests that look behind it."""

    image = "echo:latest"
    _machines: dict[str, Machine] = {}  # noqa: RUF012 - what this machine offers does not change between tests

    def __init__(
        self,
        level: str,
        *,
        probe_period: float = 0.1,
        grace: float = 10,
        start_timeout: float = 60,
        folder: Path | None = None,
        default_limits: DefaultLimitSettings | None = None,
        required: frozenset[Promise] = frozenset(),
        spares: int = 0,
    ) -> None:
        self.engine = level if level in ENGINES else ""
        if level == engines.GVISOR:
            required |= {Promise.KERNEL}
        self.required = required
        self.images = level == "image" or bool(self.engine)
        self.level = "bubblewrap" if self.images else level
        self.default_limits = default_limits
        self.spares = spares
        self.folder = folder or Path(tempfile.mkdtemp(prefix="hb-"))
        # Other users pass through it to what is theirs; what is not, is closed below.
        self.folder.chmod(0o711)
        # An image answers by itself, and not always within a tenth of a second on a busy machine.
        self.probe_period = max(probe_period, 0.5) if self.images else probe_period
        self.settings = ProviderSettings(
            drain_delay=Duration.of(0.02), grace=Duration.of(grace), start_timeout=Duration.of(start_timeout)
        )
        for name, handler in (("echo", ECHO), ("run", RUN), ("broken", BROKEN)) if not self.images else ():
            if not (self.folder / "shipped" / name).exists():
                write_bundle(self.folder / "shipped", name, handler)

    async def start(self) -> HostProvider:
        """Skips the test where the level does not work on this machine."""
        state = self.folder / "state"
        state.mkdir(mode=0o700, exist_ok=True)
        self.database = open_database(state / "hilbert.db")
        self.logs = LogFolder(state / "logs", pipes=self.folder / "run" / "pipes", limit=1 << 20)
        self.runtime = HostRuntime(
            self.folder / "run",
            images=ImageStore(state / "images", shipped=self.folder / "shipped"),
            logs=self.logs,
            settings=ProcessSettings(sandbox=self.level, log_bytes=Quantity.parse("1Mi"), spares=self.spares),  # type: ignore[arg-type]
            network=Network(self.folder / "run", pool="10.213.0.0/16"),
            default_limits=self.default_limits,
            probe_period=self.probe_period,
            store=OciStore(store_of_tests()) if self.images else None,
        )
        (self.folder / "run" / "r").mkdir(parents=True, exist_ok=True)
        many = engines.MANY_IDS
        engines.MANY_IDS = (self.engine, "none") if self.engine in many else many  # type: ignore[misc]
        try:
            await self.runtime.open(self._machines.get(self.level) if self.default_limits is None else None)
            if self.images and (missing := missing_for_images() or await self._missing_engine()):
                await self.runtime.close()
                self.database.close()
                shutil.rmtree(self.folder)
                pytest.skip(missing)
        except InvalidSettings:
            self.database.close()
            shutil.rmtree(self.folder)
            if missing := missing_here(self.level):
                pytest.skip(missing)
            raise
        finally:
            engines.MANY_IDS = many  # type: ignore[misc]
        if self.default_limits is None:
            self._machines[self.level] = self.runtime.machine
        if self.runtime.machine.user(1) is not None:
            (self.folder / "run").chmod(0o711)
            (self.folder / "run" / "r").chmod(0o711)
        self.provider = HostProvider(
            self.database, self.wrap(self.runtime), logs=self.logs, settings=self.settings, required=self.required
        )
        await self.provider.start()
        return self.provider

    async def _missing_engine(self) -> str:
        """See to it that the engine is used for every image; why it cannot be."""
        if not self.engine:
            return ""
        if shutil.which(self.engine, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin") is None:
            return f"{self.engine} is not installed (package {self.engine})"
        if self.engine != engines.GVISOR and os.geteuid() != 0 and not user_ids.mappers():
            return "this user has no ids to give"
        oci = self.runtime._oci
        assert oci is not None
        found = await oci._ways._engines  # type: ignore[union-attr]  # images work here
        if self.engine == engines.GVISOR:
            assert found.gvisor is not None, found.why
        else:
            assert found.many_ids is not None, found.why
            assert found.many_ids.name == self.engine, found.why
            oci._ways = _Many.of(oci._ways)  # type: ignore[arg-type]  # as above
        return ""

    def processes(self) -> list[psutil.Process]:
        """All that belong to replicas of this harness, however they came to be."""
        return [process for process in psutil.process_iter() if is_of(process, self.folder)]

    def wrap(self, runtime: HostRuntime) -> Runtime:
        """For a harness that comes between the two."""
        return runtime

    def pid_of(self, endpoint: Endpoint) -> int:
        """The watchdog of a replica, as seen from here."""
        handles = self.runtime.replicas._monitors
        return int(handles[endpoint.replica].handle.data["pid"])

    async def crash(self, endpoint: Endpoint) -> bool:
        os.kill(self.pid_of(endpoint), signal.SIGKILL)
        return True

    async def die(self) -> None:
        """What is in memory is lost; what is stored, and the replicas, stay."""
        await self.provider.close()
        await self.runtime.close()
        await asyncio.to_thread(self.database.close)

    async def restart(self) -> bool:
        await self.die()
        await self.start()
        return True

    async def close(self) -> None:
        """End all, and insist that nothing is left."""
        await self.provider.close(stop_replicas=True)
        await self.runtime.close()
        await asyncio.to_thread(self.database.close)
        left = list((self.folder / "run" / "r").iterdir())
        groups = [
            str(group)
            for parent in self.runtime.machine.limiter.groups("x", "x")
            for group in Path(parent).parent.parent.glob("*/*-*")
            if group.is_dir() and group.name.rpartition("-")[2] in {path.name for path in left}
        ]
        with contextlib.suppress(AssertionError):  # One that was given up before its gate ends by itself, soon.
            await eventually(lambda: not self.processes(), within=5)
        processes = self.processes()
        shutil.rmtree(self.folder)
        assert not left, f"folders of replicas are left: {left}"
        assert not groups, f"control groups are left: {groups}"
        assert not processes, f"processes are left: {processes}"
