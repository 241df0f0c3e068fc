"""A hostile image gets nowhere while it is unpacked: what it holds stays in its tree, or it is refused and leaves nothing.

Known from CVE-2018-15664 and CVE-2019-14271 (Docker), CVE-2020-1702 (containers/image: memory without a bound).
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hilbert.core.errors import ImageUnavailable
from hilbert.core.settings import ImageSettings
from hilbert.core.values import Quantity
from hilbert.images.packing import zstd
from hilbert.images.store import OciStore
from hilbert.images.tree import Hostile
from hilbert.images.unpack import highest_owner
from support.images import Image, Member, entry, file, folder, hardlink, layer, load, paths, symlink, tree_of


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder beside the trees that an attack must not touch."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "file").write_text("mine")
    before = {path: path.lstat().st_mtime_ns for path in (place, place / "file")}
    yield place
    assert os.listdir(place) == ["file"]
    assert (place / "file").read_text() == "mine"
    assert (place / "file").stat().st_nlink == 1
    assert {path: path.lstat().st_mtime_ns for path in before} == before


UPWARD = {
    "up": [file("../outside/new", b"x")],
    "up from within": [folder("a"), file("a/../../outside/new", b"x")],
    "a folder above": [folder("..")],
    "a hard link to a file above": [hardlink("a", "../outside/file"), file("a", b"x")],
    "a hard link to a file above from within": [hardlink("a", "b/../../outside/file")],
    "a whiteout above": [file("../outside/.wh.file")],
    "all of a folder above": [file("../outside/.wh..wh..opq")],
    "a whiteout of the parent": [file("a/.wh...")],
    "a whiteout of its own folder": [file("a/.wh..")],
    "a whiteout of nothing": [file("a/.wh.")],
}


@pytest.mark.parametrize("members", UPWARD.values(), ids=UPWARD)
def test_names_that_lead_out_are_refused(members: list[Member], tmp_path: Path, outside: Path) -> None:
    with pytest.raises(Hostile):
        tree_of(tmp_path, layer(*members))


def through_links(outside: Path) -> dict[str, tuple[list[Member], list[Member]]]:
    """Two layers each. Everything in them stays inside the tree."""
    up = f"../../../../../../../..{outside}"
    return {
        "absolute link": ([symlink("a", str(outside)), file("a/new", b"x")], []),
        "link upwards": ([symlink("a", up), file("a/new", b"x")], []),
        "link in a lower layer": ([symlink("a", str(outside))], [file("a/new", b"x"), file("a/file", b"x")]),
        "link over a link": ([symlink("a", "/"), symlink("b", f"a{outside}")], [file("b/new", b"x")]),
        "link to the file itself": ([symlink("a", f"{outside}/file"), file("a", b"x")], []),
        "whiteout through a link": ([symlink("a", str(outside))], [file("a/.wh.file")]),
        "all of a folder through a link": ([symlink("a", str(outside))], [file("a/.wh..wh..opq")]),
        "folder in place of a link": ([symlink("a", str(outside))], [folder("a", mode=0o777), file("a/new", b"x")]),
        "hard link to a link": ([symlink("a", f"{outside}/file"), hardlink("b", "a"), file("b", b"x")], []),
        "hard link through a link": ([symlink("a", str(outside)), file("a/file", b"1"), hardlink("b", "a/file")], [file("b", b"x")]),
        "absolute names": ([file(f"{outside}/file", b"x"), file("//etc/shadow", b"x")], []),
        "mode and owner through a link": ([symlink("a", str(outside))], [entry("a", tarfile.DIRTYPE, mode=0, uid=99)]),
    }  # fmt: skip


@pytest.mark.parametrize("name", through_links(Path("/x")))
def test_links_do_not_lead_out(name: str, tmp_path: Path, outside: Path) -> None:
    first, second = through_links(outside)[name]
    tree = tree_of(tmp_path, layer(*first), layer(*second))
    for path in tree.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert not path.samefile(outside / "file")


def test_a_link_in_place_of_a_mount_point_leads_no_mount_elsewhere(tmp_path: Path, outside: Path) -> None:
    links = [symlink(name, str(outside)) for name in ("proc", "dev", "sys", "tmp", "run")]
    tree = tree_of(tmp_path, layer(*links, folder("etc"), symlink("etc/hosts", str(outside / "file"))))
    assert not any((tree / name).is_symlink() for name in ("proc", "dev", "sys", "tmp", "run", "etc/hosts"))


@pytest.mark.parametrize("name", ["etc", "var", "var/openfaas"])
def test_a_link_above_a_mount_point_is_refused(name: str, tmp_path: Path, outside: Path) -> None:
    with pytest.raises(Hostile, match="not a folder of its own"):
        tree_of(tmp_path, layer(symlink(name, str(outside))))


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Hostile, match="circle"):
        tree_of(tmp_path, layer(symlink("a", "b"), symlink("b", "a"), file("a/c")))


def test_devices_pipes_and_setuid_bits_are_not_made(tmp_path: Path) -> None:
    device = entry("disk", tarfile.BLKTYPE, mode=0o666)
    device[0].devmajor, device[0].devminor = 8, 0
    tree = tree_of(
        tmp_path,
        layer(
            device, entry("mem", tarfile.CHRTYPE), entry("pipe", tarfile.FIFOTYPE), file("su", mode=0o7755),
            folder("shared", mode=0o6777), folder("sticky", mode=0o1777),
        ),
    )  # fmt: skip
    assert paths(tree) == {"su", "shared", "sticky"}
    modes = {name: (tree / name).stat().st_mode for name in paths(tree)}
    assert not any(mode & (stat.S_ISUID | stat.S_ISGID) for mode in modes.values())
    assert modes["su"] & 0o1000 == 0
    assert modes["sticky"] & 0o1000


def test_capabilities_and_other_attributes_are_not_set(tmp_path: Path) -> None:
    member, data = file("ping", b"x", mode=0o755)
    member.pax_headers = {"SCHILY.xattr.security.capability": "\x01\x00\x00\x02" + "\x00" * 16}
    tree = tree_of(tmp_path, layer((member, data)))
    assert os.listxattr(tree / "ping") == []


def test_kinds_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Hostile, match="neither a file nor a folder nor a link"):
        tree_of(tmp_path, layer(entry("a", b"Z")))


def test_hard_links_to_folders_and_to_nothing_are_refused(tmp_path: Path) -> None:
    for number, members in enumerate(
        ([folder("a"), hardlink("b", "a")], [hardlink("a", "none")], [hardlink("a", "/")])
    ):
        place = tmp_path / str(number)
        place.mkdir()
        with pytest.raises(Hostile, match="hard link"):
            tree_of(place, layer(*members))


@pytest.mark.bound("image-files")
def test_more_files_than_any_image_has_are_refused(tmp_path: Path) -> None:
    """The bound is 400,000; what counts is the same for any number."""
    with pytest.raises(Hostile, match="files"):
        tree_of(
            tmp_path,
            layer(*(file(str(number)) for number in range(60))),
            layer(*(file("x") for _ in range(60))),
            entries=100,
        )


def test_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    for number, name in enumerate(("a" * 256, "a/" * 250 + "b", ("b" * 250 + "/") * 17 + "c")):
        place = tmp_path / str(number)
        place.mkdir()
        with pytest.raises(Hostile):
            tree_of(place, layer(file(name)))


def test_a_nul_in_a_name(tmp_path: Path) -> None:
    member, data = file("a")
    member.pax_headers = {"path": "etc/passwd\0.txt"}
    with pytest.raises(Hostile, match="no file can have"):
        tree_of(tmp_path, layer((member, data)))


@pytest.mark.bound("image-depth")
def test_depth_by_links_is_bounded(tmp_path: Path) -> None:
    """Each link leads a hundred folders deeper than the one before."""
    members, way = [], ""
    for number in range(5):
        deep = way + "/".join(["d"] * 99)
        members += [folder(deep), symlink(f"l{number}", deep), file(f"l{number}/x")]
        way = f"l{number}/"
    with pytest.raises(Hostile, match="levels of folders"):
        tree_of(tmp_path, layer(*members))


def test_sizes_that_lie(tmp_path: Path) -> None:
    whole = layer(file("a", b"x" * 4096))
    with pytest.raises(Hostile):
        tree_of(tmp_path, whole[:1024])
    sparse, _ = file("big")
    sparse.pax_headers = {"GNU.sparse.size": str(1 << 60), "GNU.sparse.map": "0,0", "GNU.sparse.numblocks": "1"}
    place = tmp_path / "sparse"
    place.mkdir()
    with pytest.raises(Hostile, match="max_size"):
        tree_of(place, layer((sparse, b"")))


def test_a_name_that_is_said_again_and_again(tmp_path: Path) -> None:
    """Folders, files and links in turn, each in place of the one before."""
    members = [make(f"a/{n % 3}") for n in range(300) for make in (folder, file, lambda name: symlink(name, "."))]
    tree = tree_of(tmp_path, layer(*members))
    assert paths(tree) == {"a", "a/0", "a/1", "a/2"}


@pytest.fixture
def store(tmp_path: Path) -> OciStore:
    return OciStore(tmp_path / "oci", ImageSettings(max_size=Quantity.parse("4Mi")))


def nothing_is_left(store: OciStore) -> bool:
    """Whether the store holds no part of any image that could be used."""
    layout = store.layout.path
    return not any(os.listdir(layout / name) for name in ("names", "images", "roots", "layers", "tmp"))


def zeros(pack: Callable[[bytes], bytes]) -> bytes:
    """64 MiB that pack to next to nothing."""
    room = io.BytesIO()
    with tarfile.open(fileobj=room, mode="w") as archive:
        member = tarfile.TarInfo("zeros")
        member.size = 64 << 20
        archive.addfile(member, io.BytesIO(bytes(64 << 20)))
    return pack(room.getvalue())


BOMBS = {
    "gzip": lambda: zeros(lambda data: gzip.compress(data, 1)),
    "zstd": lambda: zeros(zstd.compress),
    "behind the archive's end": lambda: gzip.compress(layer(file("a")) + bytes(64 << 20), 1),
    "gzip in many parts": lambda: gzip.compress(layer(file("a"))) + gzip.compress(bytes(1 << 20)) * 64,
    "a header without end": lambda: gzip.compress(endless_header(), 1),
}


def endless_header() -> bytes:
    """A PAX header that says it has 8 GiB, followed by zeros."""
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.XHDTYPE, (8 << 30) - 1
    return member.tobuf(tarfile.USTAR_FORMAT) + bytes(64 << 20)


@pytest.mark.bound("image-size")
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
async def test_bombs(bomb: Callable[[], bytes], tmp_path: Path, store: OciStore) -> None:
    with pytest.raises(ImageUnavailable) as caught:
        await load(store, tmp_path, Image(packed=[bomb()], diff_ids=["sha256:" + "0" * 64]))
    assert caught.value.message
    assert nothing_is_left(store)
    store.prune(older_than=0)
    assert not os.listdir(store.layout.path / "blobs")


async def test_rubbish_in_place_of_a_layer(tmp_path: Path, store: OciStore) -> None:
    for packed in (
        b"no archive",
        gzip.compress(b"x" * 2000),
        b"\x1f\x8b" + os.urandom(500),
        b"\x28\xb5\x2f\xfd" + os.urandom(500),
    ):
        with pytest.raises(ImageUnavailable, match="layer"):
            await load(store, tmp_path, Image(packed=[packed], diff_ids=["sha256:" + "0" * 64]))
    assert nothing_is_left(store)


async def test_a_layer_that_is_not_what_the_configuration_says(tmp_path: Path, store: OciStore) -> None:
    with pytest.raises(ImageUnavailable, match="does not match its configuration"):
        await load(store, tmp_path, Image(layer(file("a")), diff_ids=["sha256:" + "0" * 64]))
    with pytest.raises(ImageUnavailable, match="different layers"):
        await load(store, tmp_path, Image(layer(file("a")), diff_ids=[]))
    assert nothing_is_left(store)


async def test_a_layer_of_another_image_is_not_had_by_naming_it(tmp_path: Path, store: OciStore) -> None:
    """The second image says that its one layer unpacks to the layer of the first, which is here."""
    secret = layer(file("secret", b"x"))
    await load(store, tmp_path, Image(secret), "theirs:1", "theirs")
    fake = Image(layer(file("a")))
    fake = Image(packed=[next(iter(fake.blobs.values()))], diff_ids=Image(secret).diff_ids)
    with pytest.raises(ImageUnavailable):
        await load(store, tmp_path, fake, "mine:1", "mine")
    assert store.find("mine:1", "mine") is None


@pytest.mark.parametrize("change", ["size", "digest", "config size"])
async def test_a_manifest_that_lies(change: str, tmp_path: Path, store: OciStore) -> None:
    image = Image(layer(file("a", b"x" * 1000)))
    (first,) = image.manifest["layers"]
    if change == "size":
        first["size"] -= 1
    elif change == "digest":
        blob = image.blobs[first["digest"]]
        first["digest"] = "sha256:" + "0" * 64
        image.blobs[first["digest"]] = blob
    else:
        image.manifest["config"]["size"] += 1
    with pytest.raises(ImageUnavailable, match=r"digest|size"):
        await load(store, tmp_path, image)
    assert nothing_is_left(store)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("digest", "sha256:../../../../etc/passwd"),
        ("digest", "md5:" + "0" * 32),
        ("size", -1),
        ("size", 1 << 70),
        ("mediaType", "application/vnd.oci.image.layer.v1.tar+encrypted"),
        ("digest", None),
    ],
)
async def test_descriptors_that_are_none(key: str, value: object, tmp_path: Path, store: OciStore) -> None:
    image = Image(layer(file("a")))
    image.manifest["layers"][0][key] = value
    with pytest.raises(ImageUnavailable):
        await load(store, tmp_path, image)


async def test_another_architecture_is_refused_by_name(tmp_path: Path, store: OciStore) -> None:
    with pytest.raises(ImageUnavailable, match="it is for 'linux/s390x', and this machine is linux/"):
        await load(store, tmp_path, Image(layer(file("a")), architecture="s390x"))


@pytest.mark.bound("image-layers")
async def test_more_layers_than_any_image_has(tmp_path: Path, store: OciStore) -> None:
    image = Image(*[layer(file("a"))] * 300)
    with pytest.raises(ImageUnavailable, match="more than 256 layers"):
        await load(store, tmp_path, image)


@pytest.mark.skipif(highest_owner() is None, reason="gives files to others")
async def test_no_file_belongs_to_a_user_that_a_tenant_runs_as(tmp_path: Path, store: OciStore) -> None:
    found = await load(store, tmp_path, Image(layer(file("a", uid=200_001, gid=200_001, mode=0o666))))
    assert (found.root / "a").stat().st_uid == 65534


async def test_the_store_is_closed_to_other_users(tmp_path: Path, store: OciStore) -> None:
    await load(store, tmp_path, Image(layer(file("a", mode=0o666))))
    assert store.layout.path.stat().st_mode & 0o077 == 0
