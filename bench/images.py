"""Container images: from the start of a replica to its first answer, thawing, memory, and a crowd; beside Docker on the same machine."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import ROOT, docker_starts, load
from bench.report import Section
from hilbert.core.model import Namespace
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.testing.harness import eventually, spec_of, watching
from support.container_images import busybox_layer, layer, python_image, write_image
from support.container_images import load as load_for_tests
from support.footprint import footprint
from support.processes import ProcessHarness

USER = 54321
"""An ordinary user's id that nobody has."""
INTERPRETER = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
"""The distribution's, which an ordinary user can run."""

Times = Mapping[str, Mapping[str, Sequence[float]]]


def sections(*, runs: int, namespaces: int, each: int) -> Iterator[Section]:
    folder = Path(tempfile.mkdtemp(prefix="hb-bench-images-"))
    try:
        folder.chmod(0o755)
        entry = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
        files = layer({"www/index.html": "hi", "www/_/health": "OK"}, mode=0o644)
        small = write_image(folder / "busybox.tar", [busybox_layer(), files], entrypoint=entry)
        python = python_image(folder / "python.tar", config={"Cmd": ["echo"]})
        images = {"busybox": small, "python": python}
        yield _starts(folder, images, runs)
        yield crowd(small, namespaces=namespaces, each=each)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _starts(folder: Path, images: Mapping[str, Path], runs: int) -> Section:
    found = Section(
        "Container images",
        f"Each image {runs} times, one start at a time with a pause before it; with spare networks, as by default, and without in turn: from the order to start a replica to the first answer over HTTP, and from "
        "the order to thaw a frozen one to its answer. Docker is driven by its API, with its default network and seccomp profile. "
        "`best / median / 95th percentile` in milliseconds; memory as the control group counts it.",
        ["image, run by", "start to answer", "thaw to answer", "memory of a replica"],
    )
    whole: dict[str, Times] = {}
    if os.geteuid() == 0:
        whole |= _run("Hilbert, root", folder / "root", images, runs, [sys.executable])
        if (as_user := _as_user(folder)) is not None:
            whole |= _run("Hilbert, ordinary user", folder / "user", images, runs, as_user)
    else:
        whole |= _run("Hilbert, ordinary user", folder / "user", images, runs, [sys.executable])
    whole |= docker_starts.measure(folder, images, runs)
    for who, times in whole.items():
        for image in images:
            one = times[image]
            memory = f"{load.median(list(one['memory'])) / 2**20:.1f} MiB" if one["memory"] else "not known"
            found.rows.append((f"{image}, {who}", _three(one["start"]), _three(one["thaw"]), memory))
    if (docker := whole.get("Docker")) is not None:
        best = {who: times for who, times in whole.items() if who != "Docker"}
        for who, times in best.items():
            ratio = load.median(list(docker["busybox"]["start"])) / load.median(list(times["busybox"]["start"]))
            found.findings.append(
                f"{who}: the busybox image answers {ratio:.0f} times sooner than under Docker (medians)."
            )
    else:
        found.findings.append(f"Docker was not measured: {docker_starts.missing()}.")
    return found


def crowd(image: Path, *, namespaces: int, each: int) -> Section:
    """Up and down again, with nothing left. Raises `AssertionError` if something is."""
    found = Section(
        "A crowd of images",
        f"{namespaces} namespaces with {each} replicas of the busybox image each, all at once: from the first deploy until all are "
        "ready, and from the first removal until nothing of them is left: no process, folder, mount, interface, control group or "
        "descriptor.",
        ["", "seconds", "replicas a second"],
    )
    load_for_tests(image, "crowd")
    up, down, counts = asyncio.run(_crowd(namespaces, each))
    found.findings.append(counts)
    for title, seconds in (("up", up), ("down", down)):
        found.rows.append((title, f"{seconds:.1f}", f"{namespaces * each / seconds:.0f}"))
    return found


async def _crowd(namespaces: int, each: int) -> tuple[float, float, str]:
    harness = ProcessHarness("image", probe_period=2, start_timeout=600)
    await harness.start()
    await harness.runtime.facts()  # Other ways to run images are tried at first, with a folder of their own.
    before = footprint(harness)
    names = [NamespaceName(f"crowd-{number}") for number in range(namespaces)]
    async with watching(harness.provider) as seen:
        for name in names:
            await harness.provider.create_namespace(Namespace(name=name))
        began = time.perf_counter()
        for name in names:
            labels = {"com.openfaas.scale.min": str(each)}
            await harness.provider.apply(spec_of(harness, "crowd", name, image="crowd", labels=labels))
        for name in names:
            await seen.ready(FunctionRef(name, FunctionName("crowd")), each)
        up = time.perf_counter() - began
        full = footprint(harness)
        began = time.perf_counter()
        for name in names:
            await harness.provider.delete_namespace(name)
        place = harness.runtime.replicas.folder
        await eventually(lambda: not os.listdir(place) and not harness.processes(), within=300)
        down = time.perf_counter() - began
    spared = {"descriptors here": 8}  # A pool of connections may keep a few.

    def is_gone() -> bool:
        return all(count <= before[kind] + spared.get(kind, 0) for kind, count in footprint(harness).items())

    await eventually(is_gone, every=0.1)
    left = [f"{kind} {before[kind]}, {full[kind]}, {count}" for kind, count in footprint(harness).items()]
    await harness.close()
    return up, down, f"Before, up, and after: {'; '.join(left)}."


def _as_user(folder: Path) -> list[str] | None:
    """How to run Python as an ordinary user; None where that does not work."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    (folder / "user").mkdir()
    os.chown(folder / "user", USER, USER)
    environ = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder / "user"), "TMPDIR": str(folder / "user")}
    environ["PYTHONPATH"] = os.pathsep.join((str(ROOT / "src"), str(ROOT), packages))
    command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", "-i"]
    command += [f"{name}={value}" for name, value in environ.items()]
    command.append(INTERPRETER)
    tried = subprocess.run([*command, "-c", "import uvloop, hilbert, bench"], capture_output=True, check=False)
    return command if tried.returncode == 0 else None


def _run(who: str, folder: Path, images: Mapping[str, Path], runs: int, python: Sequence[str]) -> Mapping[str, Times]:
    """Load the images and measure, as whoever runs `python`."""
    folder.mkdir(exist_ok=True)
    store = folder / "store"
    code = (
        "import asyncio, sys, pathlib\nfrom hilbert.images.store import OciStore\n"
        "for image in sys.argv[2:]:\n"
        "    name, path = image.split('=')\n"
        "    asyncio.run(OciStore(pathlib.Path(sys.argv[1])).load(pathlib.Path(path), '', name=name))\n"
    )
    given = [f"{name}={path}" for name, path in images.items()]
    subprocess.run([*python, "-c", code, str(store), *given], check=True, cwd=ROOT)
    command = [*python, "-m", "bench.image_starts", str(store), str(runs), *images]
    done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE)
    return {f"{who}{kind}": times for kind, times in json.loads(done.stdout).items()}


def _three(times: Sequence[float]) -> str:
    ordered = sorted(times)
    return f"{ordered[0]:.1f} / {load.median(ordered):.1f} / {ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)]:.1f}"
