"""What the store keeps, for how long, and how images leave and enter it as files."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from hilbert.core.errors import ImageUnavailable, InvalidSettings
from hilbert.core.settings import ImageSettings
from hilbert.core.values import Quantity
from hilbert.images import archive, keep
from hilbert.images.archive import _Tar
from hilbert.images.keep import give_name, make_room, names, read
from hilbert.images.records import ImageRecord, Origin
from hilbert.images.reference import Reference
from hilbert.images.source import Failed
from hilbert.images.store import OciStore
from hilbert.kit.staging import discard
from support.images import Image, file, layer, load, symlink


def an_image(text: bytes = b"x") -> Image:
    return Image(layer(file("base", b"base" * 1000)), layer(file("app", text)))


def folders(store: OciStore) -> dict[str, int]:
    return {
        name: len(os.listdir(store.layout.path / name)) for name in ("images", "roots", "layers", "blobs", "unpacked")
    }


async def test_prune_keeps_what_is_named_and_what_is_used(tmp_path: Path) -> None:
    store = OciStore(tmp_path / "oci")
    first = await load(store, tmp_path, an_image(b"1"), "fn:1")
    second = await load(store, tmp_path, an_image(b"2"), "fn:2")
    store.pin(first.digest, "fn-abc")
    store.pin(first.digest, "fn-abc")
    store.pin(first.digest, "fn-def")
    assert sorted(store.pins()) == [(first.digest, "fn-abc"), (first.digest, "fn-def")]
    assert [one.replicas for one in store.list()] == [2, 0]
    store.remove("fn:1")
    assert store.find("fn:1", "dev") is None
    assert store.prune(older_than=0).images == 0
    store.unpin(first.digest, "fn-abc")
    assert store.prune(older_than=0).images == 0
    store.unpin(first.digest, "fn-def")
    assert store.prune(older_than=3600).images == 0, "it is not an hour old"
    freed = store.prune(older_than=0)
    assert (freed.images, freed.layers) == (1, 1)
    assert freed.size > 0
    assert (second.root / "base").read_bytes() == b"base" * 1000
    assert folders(store) == {"images": 1, "roots": 1, "layers": 2, "blobs": 4, "unpacked": 2}
    assert not os.listdir(store.layout.path / "tmp")
    store.unpin(first.digest, "never")


async def test_a_name_that_moves_on_leaves_the_old_image_to_prune(tmp_path: Path) -> None:
    store = OciStore(tmp_path / "oci")
    old = await load(store, tmp_path, an_image(b"1"))
    new = await load(store, tmp_path, an_image(b"2"))
    assert new.digest != old.digest
    assert store.prune(older_than=0).images == 1
    assert not old.root.exists()
    found = store.find("fn:1", "dev")
    assert found is not None
    assert found.digest == new.digest


async def test_what_was_removed_cannot_be_pinned(tmp_path: Path) -> None:
    store = OciStore(tmp_path / "oci")
    found = await load(store, tmp_path, an_image())
    store.remove("fn:1")
    store.prune(older_than=0)
    with pytest.raises(ImageUnavailable, match="was removed"):
        store.pin(found.digest, "fn-abc")
    with pytest.raises(ImageUnavailable, match="not on this machine"):
        store.remove("fn:1")


@pytest.mark.bound("image-namespace")
async def test_a_namespace_has_room_for_so_much(tmp_path: Path) -> None:
    """A loaded image is not dropped to make room, since nobody could fetch it again."""
    store = OciStore(tmp_path / "oci", ImageSettings(namespace_size=Quantity.parse("95k")))
    await load(store, tmp_path, Image(layer(file("a", os.urandom(20_000))), packing=""))
    with pytest.raises(ImageUnavailable, match=r"images\.namespace_size"):
        await load(store, tmp_path, Image(layer(file("b", os.urandom(20_000))), packing=""), "fn:2")
    assert [one.image for one in store.list()] == ["fn:1"]
    assert folders(store)["layers"] == 1, "what may not stay is removed at once"
    await load(store, tmp_path, Image(layer(file("b", os.urandom(20_000))), packing=""), "fn:2", namespace="other")


@pytest.mark.bound("image-names")
async def test_a_namespace_has_so_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulled images that no replica uses give up theirs, the least recently used first. Others' names do not count."""
    most = 20
    monkeypatch.setattr(keep, "MOST_NAMES", most)
    store = OciStore(tmp_path / "oci")
    found = await load(store, tmp_path, an_image())
    record = read(store.layout.image(found.digest), ImageRecord)
    assert record is not None
    store.layout.prepare()
    for number in range(most + 1):
        digest = f"sha256:{number:064x}"
        other = msgspec.structs.replace(record, digest=digest, size=1)
        store.layout.image(digest).write_bytes(msgspec.json.encode(other))
        namespace = "dev" if number < most - 1 else "other"
        give_name(store.layout, Reference.parse(f"fn{number}:1"), namespace, digest, Origin.PULLED)
    os.utime(store.layout.name("docker.io/library/fn7:1", "dev"), (1, 1))
    new = msgspec.structs.replace(record, digest="sha256:" + "f" * 64)
    make_room(store.layout, "dev", new, most=1 << 40)
    left = {one.name for one in names(store.layout) if one.namespace == "dev" and not one.implied}
    assert len(left) == most - 1
    assert "docker.io/library/fn7:1" not in left
    assert "docker.io/library/fn:1" in left, "nobody could load it again"


async def test_export_and_load(tmp_path: Path) -> None:
    store, other = OciStore(tmp_path / "one"), OciStore(tmp_path / "two")
    found = await load(store, tmp_path, an_image(), "r.io/team/fn:1")
    target = tmp_path / "fn.tar"
    store.export("r.io/team/fn:1", "dev", target)
    (brought,) = await other.load(target, "")
    assert (brought.name, brought.digest) == ("r.io/team/fn:1", found.digest)
    shared = other.find("r.io/team/fn:1", "any")
    assert shared is not None
    assert (shared.root / "app").read_bytes() == b"x"
    packed = tmp_path / "fn.tar.gz"
    packed.write_bytes(gzip.compress(target.read_bytes()))
    (brought,) = await other.load(packed, "dev", name="mine:2", origin=Origin.BUILT)
    assert brought.name == "docker.io/library/mine:2"
    assert {one.origin for one in other.list()} == {Origin.LOADED, Origin.BUILT}


@pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed")
def test_parts_of_a_file_are_read_apart_from_each_other(tmp_path: Path) -> None:
    """Layers are copied by threads at once, so nothing may depend on where the file itself stands."""
    path = tmp_path / "file.tar"
    with tarfile.open(path, "w") as archive:
        for member, content in (file(name, name.encode() * 5_000_000) for name in "ab"):
            archive.addfile(member, io.BytesIO(content))
    with path.open("rb") as whole, tarfile.open(fileobj=whole, mode="r:") as archive:
        files = _Tar(archive, whole)
        before = whole.tell()
        with files.open("a") as first, files.open("b") as second, ThreadPoolExecutor(2) as threads:
            assert list(threads.map(lambda part: set(part.read()), (first, second))) == [{97}, {98}]
        assert whole.tell() == before


def test_a_part_that_the_file_lacks(tmp_path: Path) -> None:
    path = tmp_path / "file.tar"
    with tarfile.open(path, "w") as archive:
        member, content = file("a", b"a" * 100_000)
        archive.addfile(member, io.BytesIO(content))
    with path.open("rb") as whole, tarfile.open(fileobj=whole, mode="r:") as archive:
        files = _Tar(archive, whole)
        os.truncate(path, 50_000)
        with files.open("a") as part, pytest.raises(EOFError):
            part.read()


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
async def test_files_of_other_programs(kind: str, tmp_path: Path) -> None:
    store = OciStore(tmp_path / "oci")
    await load(store, tmp_path, an_image(b"theirs"), "localhost/fn:1")
    store.export("localhost/fn:1", "dev", tmp_path / "ours.tar")
    # podman takes no longer path than 50 characters for its own folder.
    short = Path(tempfile.mkdtemp(prefix="hb-"))
    podman = ["podman", "--root", str(short / "root"), "--runroot", str(short / "run"), "--storage-driver", "vfs"]
    subprocess.run([*podman, "load", "-i", str(tmp_path / "ours.tar")], check=True, capture_output=True)
    theirs = tmp_path / "theirs.tar"
    subprocess.run(
        [*podman, "save", "--format", kind, "-o", str(theirs), "localhost/fn:1"], check=True, capture_output=True
    )
    other = OciStore(tmp_path / "other")
    (brought,) = await other.load(theirs, "dev")
    assert brought.name == "localhost/fn:1"
    found = other.find("localhost/fn:1", "dev")
    assert found is not None
    assert (found.root / "app").read_bytes() == b"theirs"
    discard(short)  # Podman leaves folders that are read-only.


async def test_files_that_hold_no_image(tmp_path: Path) -> None:
    store = OciStore(tmp_path / "oci")
    text, empty, other = tmp_path / "text", tmp_path / "empty.tar", tmp_path / "other.tar"
    text.write_text("no archive")
    tarfile.open(empty, "w").close()
    other.write_bytes(layer(file("a")))
    links = layer(
        symlink("index.json", "/etc/passwd"), symlink("oci-layout", "oci-layout"), symlink("manifest.json", "x")
    )
    (tmp_path / "links.tar").write_bytes(links)
    half = tmp_path / "half.tar"
    await load(store, tmp_path, an_image())
    store.export("fn:1", "dev", half)
    half.write_bytes(half.read_bytes()[:2000])
    for path in (text, empty, other, tmp_path / "none", tmp_path / "links.tar", half):
        with pytest.raises(ImageUnavailable, match=r"cannot be loaded; .*: "):
            await store.load(path, "dev")
    (tmp_path / "nameless").mkdir()
    with pytest.raises(ImageUnavailable, match="no name") as caught:
        await store.load(an_image().write_layout(tmp_path / "nameless" / "x"), "dev")
    assert "--name" in caught.value.hint


@pytest.mark.bound("archive-images")
@pytest.mark.parametrize("listed", ["index.json", "manifest.json"])
async def test_a_file_with_too_many_images_is_refused(listed: str, tmp_path: Path) -> None:
    """Before any of them is read."""
    nothing = "sha256:" + "0" * 64
    one = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": nothing, "size": 1}
    saved = {"Config": "config.json", "Layers": [], "RepoTags": None}
    count = archive.MOST_IMAGES + 1
    whole = {"schemaVersion": 2, "manifests": [one] * count} if listed == "index.json" else [saved] * count
    path = tmp_path / "many.tar"
    members = [file(listed, msgspec.json.encode(whole))]
    if listed == "index.json":
        members.append(file("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'))
    path.write_bytes(layer(*members))
    with pytest.raises(ImageUnavailable, match=rf"more than {archive.MOST_IMAGES} (images|manifests)"):
        await OciStore(tmp_path / "oci").load(path, "dev")


@pytest.mark.bound("archive-files")
@pytest.mark.parametrize("count", [3, 4])
def test_a_file_with_too_many_files_is_refused(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    path = tmp_path / "many.tar"
    path.write_bytes(layer(*(file(str(number)) for number in range(count))))
    with path.open("rb") as whole, tarfile.open(fileobj=whole, mode="r:") as opened:
        if count == 3:
            _Tar(opened, whole)
            return
        with pytest.raises(Failed, match="more than 3 files"):
            _Tar(opened, whole)


async def test_a_process_that_is_killed_leaves_nothing_that_counts(tmp_path: Path) -> None:
    """As far as it can be shown from outside: what it had begun is in `tmp`, unlocked, and the next sweeps it away."""
    store = OciStore(tmp_path / "oci")
    found = await load(store, tmp_path, an_image())
    left = store.layout.path / "tmp" / "0123456789abcdef"
    shutil.copytree(found.root, left / "tree")
    shutil.rmtree(found.root)
    assert store.find("fn:1", "dev") is None, "a name without its tree is no image"
    again = await load(store, tmp_path, an_image())
    assert again.digest == found.digest
    assert not left.exists()


async def test_a_full_disk(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounts a small file system")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        store = OciStore(small / "oci")
        kept = await load(store, tmp_path, an_image())
        with pytest.raises(ImageUnavailable, match="the disk is full") as caught:
            await load(store, tmp_path, Image(layer(file("a", os.urandom(3_000_000)))), "fn:2")
        assert "hilbert images prune" in caught.value.hint
        assert store.find("fn:2", "dev") is None
        assert (kept.root / "app").read_bytes() == b"x"
        await load(store, tmp_path, an_image(b"small"), "fn:3")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_logins_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"images\.credentials"):
        OciStore(tmp_path, ImageSettings(credentials=str(tmp_path / "none")))
