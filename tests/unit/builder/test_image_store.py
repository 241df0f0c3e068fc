"""The image store: what is read back, what survives, what is pruned."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from hilbert.builder import image_store as store_module
from hilbert.builder.build_errors import BuildFailed, ImageNotFound
from hilbert.builder.image_store import Store
from hilbert.core.bundle import Manifest, Mode
from hilbert.core.errors import StorageFull
from hilbert.runtimes.process.images import ImageStore
from support.build import write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "images")


def put(store: Store, image: str, files: dict[str, str], layers: tuple[str, ...] = ()) -> str:
    with store.building(), store.stage() as stage:
        write(stage / "bundle", files)
        manifest = Manifest(mode=Mode.STREAMING, process="cat", layers=layers)
        return store.put_bundle(stage / "bundle", manifest, image, namespace="").digest


def test_what_is_stored_is_what_the_runtime_reads(store: Store) -> None:
    """The provider's side finds image, bundle, manifest and layers."""
    layer = store.layer("k", lambda folder: (folder / "lib.py").touch())
    digest = put(store, "web", {"a": "1"}, (layer,))
    found = ImageStore(store.path).find("web", "dev")
    assert found.pin == digest
    assert found.manifest.process == "cat"
    assert (found.path / "a").read_text() == "1"
    assert (found.layers[0] / "lib.py").exists()
    assert ImageStore(store.path).find("web:latest", "dev").pin == digest


def test_digest_follows_content(store: Store) -> None:
    """The same twice is one bundle; the manifest counts, too."""
    one = put(store, "a:1", {"x": "1"})
    assert put(store, "b:1", {"x": "1"}) == one
    assert put(store, "c:1", {"x": "2"}) != one
    assert len(list((store.path / "bundles").iterdir())) == 2


def test_a_layer_is_made_once_for_a_key(store: Store) -> None:
    """However many want it at once."""
    made: list[int] = []
    gate = threading.Barrier(4)

    def make(folder: Path) -> None:
        made.append(1)
        (folder / "x").write_text("1")

    def want() -> None:
        gate.wait()
        digests.append(store.layer("same", make))

    digests: list[str] = []
    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(set(digests)) == 1


def test_a_fresh_layer_leaves_the_old_one_alone(store: Store) -> None:
    """Bundles that were built with it keep it."""
    old = store.layer("k", lambda folder: (folder / "v1").touch())
    new = store.layer("k", lambda folder: (folder / "v2").touch(), fresh=True)
    assert old != new
    assert (store.layer_path(old) / "v1").exists()
    assert store.layer("k", lambda folder: pytest.fail("it is there")) == new


def test_a_layer_that_fails_leaves_nothing(store: Store) -> None:
    """The next try begins anew."""

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise BuildFailed("no")

    with pytest.raises(BuildFailed):
        store.layer("k", fail)
    assert not list((store.path / "layers").iterdir())
    assert not list((store.path / "tmp").iterdir())
    assert store.layer("k", lambda folder: (folder / "x").touch())


def test_a_full_disk_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name goes on meaning the bundle before."""
    before = put(store, "web", {"a": "1"})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module, "sync_tree", full)
    with pytest.raises(StorageFull) as caught:
        put(store, "web", {"a": "2"})
    assert "hilbert images prune" in caught.value.hint
    record = store.find("web", namespace="")
    assert record is not None
    assert record.digest == before
    assert not list((store.path / "tmp").iterdir())


def test_leftovers_of_processes_that_are_gone_are_removed(store: Store) -> None:
    """A build that was killed leaves its folder to the next one; a build under way keeps its own."""
    put(store, "a", {"x": "1"})
    left = write(store.path / "tmp" / "0123456789abcdef", {"half": ""})
    with store.stage() as stage:
        write(stage, {"half": ""})
        put(store, "b", {"x": "2"})
        assert not left.exists()
        assert (stage / "half").exists()
    assert not list((store.path / "tmp").iterdir())


def test_what_runs_is_not_pruned(store: Store) -> None:
    """Replicas name their bundle and layers in their environment, their mounts or their working folder."""
    layer = store.layer("k", lambda folder: (folder / "x").touch())
    named, entered = put(store, "f", {"a": "1"}), put(store, "f", {"a": "2"})
    put(store, "f", {"a": "3"})
    env = {
        **os.environ,
        "HILBERT_BUNDLE": str(store.bundle_path(named)),
        "HILBERT_LAYERS": str(store.layer_path(layer)),
    }
    first = subprocess.Popen(["sleep", "1000"], env=env)
    second = subprocess.Popen(["sleep", "1000"], cwd=store.bundle_path(entered))
    try:
        assert store.prune(older_than=0).bundles == 0
        assert store.layer_path(layer).is_dir()
    finally:
        for process in (first, second):
            process.kill()
            process.wait()
    freed = store.prune(older_than=0)
    assert (freed.bundles, freed.layers) == (2, 1)


def test_list_remove_prune(store: Store) -> None:
    """Removing forgets a name; pruning frees what no name needs, when it is old enough."""
    layer = store.layer("k", lambda folder: (folder / "x").write_text("1234"))
    other = store.layer("other", lambda folder: (folder / "y").write_text("1"))
    put(store, "keep:1", {"a": "1"}, (other,))
    put(store, "drop:1", {"a": "2"}, (layer,))
    assert [image.image for image in store.list()] == ["drop:1", "keep:1"]
    assert store.list()[0].layers == (layer,)
    store.remove("drop:1")
    with pytest.raises(ImageNotFound):
        store.remove("drop:1")
    assert store.prune(older_than=3600).bundles == 0
    freed = store.prune(older_than=0)
    assert (freed.bundles, freed.layers) == (1, 1)
    assert freed.size >= 5
    assert store.layer_path(other).is_dir()
    assert not store.layer_path(layer).exists()
    assert [image.image for image in store.list()] == ["keep:1"]
    assert store.layer("k", lambda folder: (folder / "x").write_text("1234")) == layer


def test_prune_waits_for_builds(store: Store) -> None:
    """What a build has made but not named yet is not pruned."""
    order: list[str] = []
    with store.building():
        thread = threading.Thread(target=lambda: (store.prune(older_than=0), order.append("pruned")))
        thread.start()
        layer = store.layer("k", lambda folder: (folder / "x").touch())
        thread.join(0.05)
        order.append("built")
        assert store.layer_path(layer).is_dir()
    thread.join()
    assert order == ["built", "pruned"]


def test_damaged_entries_do_no_harm(store: Store) -> None:
    """A broken index entry is as good as none."""
    put(store, "a", {"x": "1"})
    next((store.path / "index").iterdir()).write_text("{")
    assert store.find("a", namespace="") is None
    assert store.list() == []
    put(store, "a", {"x": "1"})
    assert store.find("a", namespace="") is not None
    store.remove("a")


def test_the_store_is_private(store: Store) -> None:
    """Other users see nothing of it."""
    put(store, "a", {"x": "1"})
    assert store.path.stat().st_mode & 0o777 == 0o700
