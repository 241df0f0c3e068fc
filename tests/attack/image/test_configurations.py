"""Configurations that say what no honest one does: whatever of it reaches a start is refused in words, or is harmless."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hilbert.core.errors import StartFailed
from hilbert.core.model import FunctionSpec, Phase
from hilbert.core.ports import ReplicaPlan
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.images.documents import read_config
from hilbert.images.model import LocalImage
from hilbert.runtimes.oci.program import accounts_of, program_of
from hilbert.runtimes.oci.runtime import end_signal
from hilbert.runtimes.oci.user_ids import why_many
from hilbert.testing.harness import eventually, lines_of, spec_of, watching
from support.container_images import busybox_layer, write_image
from support.container_images import layer as plain_layer
from support.container_images import load as load_for_tests
from support.images import Image, Member, file, folder, layer, symlink, tree_of
from support.processes import ProcessHarness

pytestmark = pytest.mark.anyio

LONG = "9" * 5000
"""More digits than Python makes a number of."""


def _image(tmp_path: Path, config: Mapping[str, Any], *members: Member) -> LocalImage:
    root = tree_of(tmp_path, layer(file("bin/x", b"#!/bin/x\n", mode=0o755), *members))
    document = read_config(Image(layer(), config={"Entrypoint": ["/bin/x"], **config}).config)
    return LocalImage(name="hostile", digest="sha256:" + "0" * 64, root=root, config=document.config, size=1)


def _plan(**fields: Any) -> ReplicaPlan:
    ref = FunctionRef(NamespaceName("tenant"), FunctionName("f"))
    return ReplicaPlan(replica="f-x", spec=FunctionSpec(ref=ref, image="hostile", **fields), generation=1, secrets={})


@pytest.fixture
def descriptors() -> Iterator[None]:
    """None is left open: whoever is refused tries again and again."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert len(set(os.listdir("/proc/self/fd"))) <= len(before)


USERS = [
    LONG, "4294967295", "4294967296", str(1 << 31), str(1 << 63), "-1", "+1", " 1", "1 ", "0x0", "1e3", "1.0", "٣", "²",
    f"0:{LONG}", "0:-1", "0:4294967295", "::", "0:0:0", "root\0", "nobody", "a" * 100_000, "../etc", "\n0", "ro\not",
]  # fmt: skip


@pytest.mark.parametrize("user", USERS, ids=[repr(user[:12]) for user in USERS])
@pytest.mark.usefixtures("descriptors")
def test_users_that_are_none_are_refused_in_few_words(user: str, tmp_path: Path) -> None:
    image = _image(tmp_path, {"User": user})
    with pytest.raises(StartFailed) as caught:
        program_of(image, _plan())
    assert len(caught.value.message) < 400
    assert caught.value.message.isprintable()


ACCOUNTS = [
    f"x:x:{LONG}:{LONG}::/:/bin/sh", "x:x:-5:-5::/:/bin/sh", "x:x:4294967295:0::/:/bin/sh", "x:x::::/:", "x:x", ":::::::",
    "x:x:٣:٣::/:/bin/sh", "x:" * 10_000, "x:x:1:1::relative:/bin/sh", "x:x:1:1::/a\0b:/bin/sh", "\xff\xfe:x:1:1::/:",
]  # fmt: skip


@pytest.mark.parametrize("row", ACCOUNTS, ids=[repr(row[:12]) for row in ACCOUNTS])
@pytest.mark.usefixtures("descriptors")
def test_accounts_that_are_none(row: str, tmp_path: Path) -> None:
    image = _image(tmp_path, {"User": "x"}, file("etc/passwd", row.encode("latin-1", "replace")))
    with contextlib.suppress(StartFailed):
        program = program_of(image, _plan())
        assert 0 <= program.user < 1 << 31
        assert program.environment["HOME"].startswith("/")
        assert "\0" not in program.environment["HOME"]
    assert all(0 <= number < 1 << 32 for _, number in accounts_of(image.root))
    program = program_of(_image(tmp_path / "root", {}, file("etc/passwd", row.encode("latin-1", "replace"))), _plan())
    why_many(image.root, program, {})


PLACES: dict[str, list[Member]] = {
    "a folder": [folder("etc/passwd"), folder("etc/group")],
    "a link to a folder": [symlink("etc/passwd", "/bin"), symlink("etc/group", "/")],
    "a link to itself": [symlink("etc/passwd", "passwd")],
    "a link to this machine's": [symlink("etc/passwd", "../../../../../../../../etc/passwd")],
    "a link to what a process has": [symlink("etc/passwd", "/proc/self/fd/0")],
    "closed to all": [file("etc/passwd", b"x:x:1:1::/:", mode=0)],
}


@pytest.mark.parametrize("members", PLACES.values(), ids=PLACES)
@pytest.mark.usefixtures("descriptors")
def test_accounts_that_are_no_file(members: list[Member], tmp_path: Path) -> None:
    image = _image(tmp_path, {"User": "daemon:daemon"}, *members)
    for _ in range(3):
        with pytest.raises(StartFailed, match="has no user"):
            program_of(image, _plan())
        assert accounts_of(image.root) in ([], [("x", 1)])


@pytest.mark.parametrize(
    "text", [LONG, "0", "-9", "65", "٣", "²", "9" * 30, "SIG", "SIGNOTHING", "\0", "KILL\n", "a" * 10_000]
)
def test_signals_that_are_none(text: str) -> None:
    assert 1 <= end_signal(text) <= 64


CONFIGS: dict[str, dict[str, Any]] = {
    "a NUL in the environment": {"Env": ["a=b\0c"]},
    "a NUL in a name of the environment": {"Env": ["a\0b=c"]},
    "a NUL in an argument": {"Cmd": ["a\0b"]},
    "a NUL in the folder": {"WorkingDir": "/a\0b"},
    "an empty program": {"Entrypoint": [""]},
    "no program": {"Entrypoint": [], "Cmd": []},
    "a program that is a folder above": {"Entrypoint": ["../../../../../../../bin/sh"]},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.usefixtures("descriptors")
def test_programs_that_are_none_are_refused(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(StartFailed) as caught:
        program_of(_image(tmp_path, config), _plan())
    assert len(caught.value.message) < 400


# Really started


@pytest.fixture
async def harness() -> AsyncIterator[ProcessHarness]:
    if not busybox_layer():
        pytest.skip("busybox is not installed (package busybox-static)")
    harness = ProcessHarness("image", probe_period=2, start_timeout=5)
    await harness.start()
    yield harness
    await harness.close()


SERVE = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
STARTS: dict[str, tuple[dict[str, Any], str]] = {
    "a hundred thousand arguments": ({"Entrypoint": ["/bin/busybox"], "Cmd": ["x"] * 100_000}, "too long"),
    "ten thousand variables": ({"Entrypoint": SERVE, "Env": [f"v{n}=1" for n in range(10_000)]}, "."),
    "a variable of three megabytes": ({"Entrypoint": SERVE, "Env": ["v=" + "x" * 3_000_000]}, "."),
    "a program that goes to the background and ends": ({"Entrypoint": [
        "/bin/busybox", "sh", "-c", "(/bin/busybox sleep 1000 &); exit 3"]}, "."),
    "a program that leaves its session": ({"Entrypoint": [
        "/bin/busybox", "sh", "-c", "/bin/busybox setsid /bin/busybox sleep 1000 & exit 4"]}, "."),
    "a folder that is a file": ({"Entrypoint": SERVE, "WorkingDir": "/bin/busybox/x"}, "."),
    "a folder through a link that leads out": ({"Entrypoint": SERVE, "WorkingDir": "/out/made/here"}, "."),
    "a program that is a folder": ({"Entrypoint": ["/www"]}, "."),
}  # fmt: skip


@pytest.mark.parametrize("name", STARTS)
async def test_what_cannot_start_says_why_and_leaves_nothing(
    name: str, harness: ProcessHarness, tmp_path: Path
) -> None:
    config, words = STARTS[name]
    entry = config["Entrypoint"]
    more = {key: value for key, value in config.items() if key != "Entrypoint"}
    outside = tmp_path / "outside"
    outside.mkdir()
    files = plain_layer({"www/index.html": "hi"}, mode=0o644, links={"out": f"../../../../..{outside}"})
    load_for_tests(write_image(tmp_path / "x.tar", [busybox_layer(), files], entrypoint=entry, config=more), "hostile")
    spec = spec_of(harness, "hostile", image="hostile")
    await harness.provider.apply(spec)

    async def told() -> bool:
        status = await harness.provider.get(spec.ref)
        return bool(status.message) and status.phase is not Phase.READY

    await eventually(told)
    message = (await harness.provider.get(spec.ref)).message
    assert words in message or words == ".", message
    assert len(message) < 1000, message
    assert os.listdir(outside) == []
    await harness.provider.remove(spec.ref)
    await eventually(lambda: not harness.processes())


RUNS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "new lines in the environment": (
        {"Env": ["a=b\nLD_PRELOAD=/evil\n", "new\nline=1", "=nothing", "none", "BASH_FUNC_x%%=() { :; }"]}, []),
    "a folder through links": ({"WorkingDir": "/x/../up/made/here"}, ["up"]),
    "a folder that leads up": ({"WorkingDir": "../../../../made"}, []),
    "a folder below what is mounted": ({"WorkingDir": "/proc/self/../../tmp"}, []),
    "a folder in the secrets": ({"WorkingDir": "/var/openfaas/secrets"}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
async def test_what_starts_stays_inside(name: str, harness: ProcessHarness, tmp_path: Path) -> None:
    config, links = RUNS[name]
    files = plain_layer({"www/index.html": "hi"}, mode=0o644, links=dict.fromkeys(links, "../../../../../www"))
    entry = ["/bin/busybox", "sh", "-c", 'echo "folder $PWD preload $LD_PRELOAD."; exec "$@"', "sh", *SERVE]
    load_for_tests(write_image(tmp_path / "x.tar", [busybox_layer(), files], entrypoint=entry, config=config), "odd")
    spec = spec_of(harness, "odd", image="odd")
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        await table.ready(spec.ref)

    async def said() -> str:
        return next((line.text for line in await lines_of(harness, ref=spec.ref) if "preload" in line.text), "")

    await eventually(said)
    assert "preload ." in await said(), "a line of one variable is not another"
    assert not Path("/made").exists()
    await harness.provider.remove(spec.ref)
    await eventually(lambda: not harness.processes())
