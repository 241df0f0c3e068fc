"""Container images whose own program, user or root is hostile: refused or harmless, and gone without a trace."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hilbert.core.model import FunctionStatus, Phase
from hilbert.testing.harness import call, eventually, spec_of, watching
from support.container_images import busybox_layer, layer, load, python_image, write_image
from support.processes import ProcessHarness

pytestmark = pytest.mark.anyio

HOSTILE = r"""
import http.server, os, signal, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

def serve():
    http.server.HTTPServer(("", 8080), Handler).serve_forever()

match os.environ["how"]:
    case "daemonises":
        if os.fork():
            os._exit(0)
        os.setsid()
        serve()
    case "ignores signals":
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        serve()
    case "stops itself":
        os.kill(os.getpid(), signal.SIGSTOP)
    case "never listens":
        time.sleep(3600)
    case "floods":
        while True:
            os.write(1, b"x" * 65536)
    case "forks":
        while True:
            try:
                os.fork()
            except OSError:
                time.sleep(0.1)
    case "kills all":
        for pid in (1, -1):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(3600)
"""


@pytest.fixture(scope="module", autouse=True)
def images(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("images")
    load(python_image(folder / "hostile.tar", HOSTILE), "hostile")


@pytest.fixture
async def harness() -> AsyncIterator[ProcessHarness]:
    harness = ProcessHarness("image", grace=0.5, start_timeout=3, probe_period=2)
    await harness.start()
    yield harness
    await harness.close()


async def failed(harness: ProcessHarness, **fields: object) -> FunctionStatus:
    """The status of a function of which no replica comes up, once that is known."""
    spec = spec_of(harness, "hostile", **fields)
    await harness.provider.apply(spec)

    async def known() -> FunctionStatus | None:
        status = await harness.provider.get(spec.ref)
        return status if status.phase is Phase.FAILED else None

    status: FunctionStatus = await eventually(known)
    return status


async def test_a_program_that_goes_into_the_background_ends_with_its_replica(harness: ProcessHarness) -> None:
    spec = spec_of(harness, "hostile", image="hostile", env={"how": "daemonises"})
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        await table.ready(spec.ref)
        await harness.provider.remove(spec.ref)
        await eventually(lambda: not harness.processes())


@pytest.mark.parametrize("how", ["never listens", "stops itself", "kills all"])
async def test_a_program_that_never_answers_is_not_ready(harness: ProcessHarness, how: str) -> None:
    status = await failed(harness, image="hostile", env={"how": how})
    assert (status.reason, status.available) == ("ProbeFailing", 0)
    await harness.provider.scale(status.spec.ref, 0)
    await eventually(lambda: not harness.processes())


async def test_a_program_that_ignores_every_signal_is_ended_by_force(harness: ProcessHarness) -> None:
    spec = spec_of(harness, "hostile", image="hostile", env={"how": "ignores signals"})
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        await table.ready(spec.ref)
        await harness.provider.remove(spec.ref)
        await eventually(lambda: not harness.processes())


@pytest.mark.parametrize("how", ["floods", "forks"])
async def test_a_program_that_takes_all_leaves_neighbours_alone(harness: ProcessHarness, how: str) -> None:
    neighbour = spec_of(harness)
    async with watching(harness.provider) as table:
        await harness.provider.apply(neighbour)
        (endpoint,) = await table.ready(neighbour.ref)
        hostile = spec_of(harness, "hostile", image="hostile", env={"how": how})
        await harness.provider.apply(hostile)
        await eventually(lambda: len(harness.processes()) > 4)
        for _ in range(20):
            assert await call(endpoint, b"still here") == (200, b"still here")
        logs = harness.folder / "state" / "logs"
        assert sum(path.stat().st_size for path in logs.rglob("*") if path.is_file()) < 16 << 20
        await harness.provider.remove(hostile.ref)


@pytest.mark.parametrize(
    ("name", "entry", "config", "words"),
    [
        ("no-program", [], {}, "does not say which program"),
        ("no-such-program", ["/nowhere"], {}, "is not in the image"),
        ("no-such-user", ["/x"], {"User": "somebody"}, "has no user 'somebody'"),
        ("too-high", ["/x"], {"User": "99999999999"}, "has no user"),
    ],
)
async def test_an_image_that_cannot_start_says_why(
    harness: ProcessHarness, tmp_path: Path, name: str, entry: list[str], config: dict[str, str], words: str
) -> None:
    load(write_image(tmp_path / "i.tar", [layer({"x": ""})], entrypoint=entry, config=config), name)
    status = await failed(harness, image=name)
    assert words in status.message


@pytest.mark.skipif(not busybox_layer(), reason="there is no busybox here (package busybox-static)")
@pytest.mark.parametrize("link", ["/oldroot", "../../..", "/proc/self/root", "/newroot/../oldroot"])
async def test_links_of_an_image_lead_nowhere(harness: ProcessHarness, tmp_path: Path, link: str) -> None:
    """Not its working folder, which is made (CVE-2024-21626), nor what is covered; nor its list of users, which is read
    from outside."""
    target = tmp_path / "target"
    target.mkdir(mode=0o777)
    (tmp_path / "passwd").write_text("evil:x:77:77::/:/bin/sh\n")
    there = f"{link}{target}" if link != "../../.." else f"../../../../../../..{target}"
    links = {"app": there, "etc/hosts": there, "etc/passwd": f"{there}/../passwd", "var/openfaas/secrets": there}
    image = write_image(
        tmp_path / "i.tar",
        [busybox_layer(), layer({}, links=links)],
        entrypoint=["/bin/busybox", "httpd", "-f", "-p", "8080"],
        config={"WorkingDir": "/app/made/here", "User": "evil"},
    )
    name = f"links-{abs(hash(link)) % 10_000}"
    load(image, name)
    status = await failed(harness, image=name)
    assert "has no user 'evil'" in status.message
    load(write_image(image, [busybox_layer(), layer({}, links=links)], entrypoint=["/bin/busybox", "httpd", "-f", "-p", "8080"],
        config={"WorkingDir": "/app/made/here"}), name)  # fmt: skip
    spec = spec_of(harness, "other", image=name)
    await harness.provider.apply(spec)

    async def settled() -> bool:
        status = await harness.provider.get(spec.ref)
        return status.phase in (Phase.READY, Phase.FAILED)

    await eventually(settled)
    assert os.listdir(target) == []
