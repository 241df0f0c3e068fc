"""A state directory on a full disk: nothing is half done, what was promised stays, and room brings everything back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilbert.core.errors import StorageFull
from hilbert.core.model import Namespace, Secret
from hilbert.core.values import DEFAULT_NAMESPACE, NamespaceName, SecretName
from hilbert.providers.host import open_database
from hilbert.testing.harness import eventually, spec_of, watching
from support.hosts import HostHarness

pytestmark = pytest.mark.anyio


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of one mebibyte."""
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.mount(b"none", str(folder).encode(), b"tmpfs", 0, b"size=1m") != 0:
        folder.rmdir()
        pytest.skip("only root can mount a small file system")
    yield folder
    libc.umount2(str(folder).encode(), 2)
    shutil.rmtree(folder, ignore_errors=True)


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return ballast


LARGE = {"padding": "x" * 60_000}


async def promise_more(harness: HostHarness) -> None:
    """Until it is refused: the log of the database may have room for some."""
    for number in range(100):
        await harness.provider.apply(spec_of(harness, f"f{number}", env=LARGE))


async def test_every_promise_is_refused_and_nothing_is_lost(small_disk: Path) -> None:
    harness = HostHarness(folder=small_disk)
    await harness.start()
    provider = harness.provider
    kept = spec_of(harness, "kept")
    await provider.apply(kept)
    await provider.create_secret(Secret(DEFAULT_NAMESPACE, SecretName("token"), b"1"))
    async with watching(provider) as table:
        (endpoint,) = await table.ready(kept.ref)
        ballast = fill(small_disk)
        with pytest.raises(StorageFull, match="nothing was changed"):
            await promise_more(harness)
        made = {status.spec.ref.name for status in await provider.list(DEFAULT_NAMESPACE)}
        with pytest.raises(StorageFull):
            await provider.apply(spec_of(harness, "kept", env=LARGE))
        with pytest.raises(StorageFull):
            await provider.create_namespace(Namespace(name=NamespaceName("dev"), labels=LARGE))
        with pytest.raises(StorageFull):
            await provider.update_secret(Secret(DEFAULT_NAMESPACE, SecretName("token"), b"x" * 60_000))
        assert {status.spec.ref.name for status in await provider.list(DEFAULT_NAMESPACE)} == made
        assert (await provider.get(kept.ref)).spec == kept
        assert table.endpoints(kept.ref) == (endpoint,)
        ballast.unlink()
        await provider.apply(spec_of(harness, "after"))
        await table.ready(spec_of(harness, "after").ref)
    await harness.restart()
    names = {status.spec.ref.name for status in await harness.provider.list(DEFAULT_NAMESPACE)}
    assert names == made | {"after"}
    assert (await harness.provider.get(kept.ref)).spec == kept
    await harness.close_all(keep_folder=True)


async def test_a_replica_that_could_not_be_recorded_is_not_started_until_there_is_room(small_disk: Path) -> None:
    harness = HostHarness(folder=small_disk)
    await harness.start()
    spec = spec_of(harness)
    await harness.provider.apply(spec)
    async with watching(harness.provider) as table:
        (endpoint,) = await table.ready(spec.ref)
        ballast = fill(small_disk)
        with pytest.raises(StorageFull):
            await promise_more(harness)
        harness.world.die(endpoint.replica)
        await eventually(lambda: endpoint not in table.endpoints(spec.ref))
        ballast.unlink()
        await table.ready(spec.ref)
    await harness.close_all(keep_folder=True)


async def test_a_database_that_cannot_be_opened_is_an_error_of_ours(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(StorageFull):
        open_database(small_disk / "hilbert.db")
