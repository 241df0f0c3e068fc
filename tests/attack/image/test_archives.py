"""Archives that say what no honest one does: names, sizes and owners that lie, and compressed streams that do not end where they say."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import struct
import tarfile
from pathlib import Path

import pytest

from hilbert.core.errors import ImageUnavailable
from hilbert.core.settings import ImageSettings
from hilbert.core.values import Quantity
from hilbert.images.packing import zstd
from hilbert.images.store import OciStore
from hilbert.images.tree import Hostile
from support.images import Image, Member, digest_of, entry, file, folder, hardlink, layer, load, paths, symlink, tree_of


def said(member: Member, **headers: str) -> Member:
    """The same with PAX headers of its own."""
    member[0].pax_headers = headers
    return member


@pytest.mark.parametrize(
    "name", ["user.overlay.opaque", "user.overlay.redirect", "user.overlay.whiteout", "user.x", "security.selinux",
             "trusted.overlay.opaque", "system.posix_acl_access"],
)  # fmt: skip
def test_no_attribute_reaches_a_file_of_the_tree(name: str, tmp_path: Path) -> None:
    """Those of overlays would hide, or lead elsewhere, what a layer above the tree shows."""
    tree = tree_of(
        tmp_path,
        layer(
            said(folder("a"), **{f"SCHILY.xattr.{name}": "y"}),
            said(file("a/b", b"x"), **{f"SCHILY.xattr.{name}": "/etc", f"LIBARCHIVE.xattr.{name}": "eQ"}),
        ),
    )
    assert [os.listxattr(path, follow_symlinks=False) for path in (tree, tree / "a", tree / "a/b")] == [[], [], []]


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_hard_link_to_what_is_not_made_is_a_link_to_nothing(kind: bytes, tmp_path: Path) -> None:
    with pytest.raises(Hostile, match="hard link to a file that it does not have"):
        tree_of(tmp_path, layer(entry("special", kind), hardlink("a", "special")))


@pytest.mark.parametrize("target", ["/etc/passwd", "/proc/1/environ", "/dev/sda", "etc/passwd", "./../x/../etc/passwd"])
def test_a_hard_link_to_a_file_of_this_machine_is_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(Hostile):
        tree_of(tmp_path, layer(hardlink("a", target)))


def test_emptying_and_removing_the_root(tmp_path: Path) -> None:
    """The one hides all that is below; the other is no name of anything."""
    tree = tree_of(
        tmp_path / "one", layer(folder("a"), file("a/b", b"x"), file("c")), layer(file(".wh..wh..opq"), file("d"))
    )
    assert paths(tree) == {"d"}
    for number, name in enumerate((".wh.", ".wh..", ".wh...", "./.wh.", "/.wh..")):
        with pytest.raises(Hostile, match="removes a folder"):
            tree_of(tmp_path / f"r{number}", layer(file("c")), layer(file(name)))


def test_what_is_emptied_stays_inside_whatever_stands_there(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    for number, lower in enumerate(([symlink("a", str(outside))], [file("a")], [folder("b"), symlink("a", "b")])):
        tree_of(tmp_path / str(number), layer(*lower), layer(file("a/.wh..wh..opq"), file("a/b/.wh.kept")))
    assert os.listdir(outside) == ["kept"]


def test_one_name_as_everything_in_turn(tmp_path: Path) -> None:
    """In one layer and over several; whoever comes last wins, and nothing is written through what stood there before."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b").write_text("mine")
    turns = [
        [folder("a"), file("a/b", b"1")],
        [symlink("a", str(outside)), file("a/b", b"2")],
        [file("a", b"3")],
        [file("c", b"c"), hardlink("a", "c")],
        [folder("a"), symlink("a/b", str(outside / "b")), file("a/b", b"4")],
        [entry("a", tarfile.FIFOTYPE), file("a/b", b"5")],
        [symlink("a", "."), file("a/b", b"6"), folder("a")],
    ]
    for number, layers in enumerate((turns, [[member for turn in turns for member in turn]])):
        tree = tree_of(tmp_path / str(number), *(layer(*one) for one in layers))
        assert (tree / "a").is_dir()
        assert not (tree / "a").is_symlink()
    assert (outside / "b").read_text() == "mine"
    assert (outside / "b").stat().st_nlink == 1


HEADERS = {
    "a negative size": {"size": "-1"},
    "a negative huge size": {"size": "-99999999999999999999"},
    "a size beyond all": {"size": "9" * 40},
    "a size that is a petabyte": {"size": str(1 << 50)},
    "a NUL in a link": {"linkpath": "etc/passwd\0/../.."},
    "a sparse size that is negative": {"GNU.sparse.size": "-5", "GNU.sparse.map": "0,1", "GNU.sparse.numblocks": "1"},
    "sparse pieces that are negative": {"GNU.sparse.size": "9", "GNU.sparse.map": "-4,9", "GNU.sparse.numblocks": "1"},
    "sparse pieces that overlap": {"GNU.sparse.size": "9", "GNU.sparse.map": "0,5,2,5", "GNU.sparse.numblocks": "2"},
    "sparse pieces that are no numbers": {"GNU.sparse.size": "9", "GNU.sparse.map": "x,y", "GNU.sparse.numblocks": "1"},
    "a sparse file in the newest format": {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": "-1",
    },
    "a name that leads out": {"path": "../../outside"},
    "a name that leads out later": {"path": "a/\n/../../../outside"},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_headers_that_lie_are_refused(headers: dict[str, str], tmp_path: Path) -> None:
    member = symlink("a", "b") if "linkpath" in headers else file("a", b"0 1\n" + bytes(600))
    with pytest.raises(Hostile):
        tree_of(tmp_path / "tree", layer(said(member, **headers), file("b")))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("outside")] == []


HARMLESS = {
    "a size of digits without end": {"size": "9" * 5000},
    "a sparse map with an odd end": {"GNU.sparse.size": "9", "GNU.sparse.map": "0,5,2", "GNU.sparse.numblocks": "2"},
}


@pytest.mark.parametrize("headers", HARMLESS.values(), ids=HARMLESS)
def test_headers_that_say_nothing_are_passed_over_or_refused(headers: dict[str, str], tmp_path: Path) -> None:
    with contextlib.suppress(Hostile):
        tree = tree_of(tmp_path / "tree", layer(said(file("a", b"0 1\n" + bytes(600)), **headers), file("b")))
        assert paths(tree) <= {"a", "b"}
        assert (tree / "a").stat().st_size < 1000


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "-1e400", "9" * 400, "-5", "x", ""])
@pytest.mark.parametrize("name", ["mtime", "uid", "gid", "atime"])
def test_times_and_owners_that_are_none_are_some_or_refused(name: str, value: str, tmp_path: Path) -> None:
    try:
        tree = tree_of(tmp_path, layer(said(file("a"), **{name: value})))
    except Hostile:
        return
    seen = (tree / "a").stat()
    assert 0 <= seen.st_mtime <= 2**33
    assert 0 <= seen.st_uid <= 65535
    assert 0 <= seen.st_gid <= 65535


def test_headers_for_all_that_follow_change_no_more_than_their_own_would(tmp_path: Path) -> None:
    room = io.BytesIO()
    with tarfile.open(fileobj=room, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"path": "../../up"}) as archive:
        archive.addfile(tarfile.TarInfo("a"))
    with pytest.raises(Hostile):
        tree_of(tmp_path / "tree", room.getvalue())


def test_a_name_in_another_character_set(tmp_path: Path) -> None:
    member = said(file("a"), hdrcharset="BINARY", path="b\udcff")
    with tarfile.open(fileobj=io.BytesIO(), mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        data = member[0].tobuf(tarfile.PAX_FORMAT, errors="surrogateescape") + bytes(1024)
        del archive
    tree = tree_of(tmp_path, data)
    assert paths(tree) == {"b\udcff"}


# Packed streams


@pytest.fixture
def store(tmp_path: Path) -> OciStore:
    return OciStore(tmp_path / "oci", ImageSettings(max_size=Quantity.parse("4Mi")))


def nothing_is_left(store: OciStore) -> bool:
    layout = store.layout.path
    return not any(os.listdir(layout / name) for name in ("names", "images", "roots", "layers", "tmp"))


async def test_a_layer_in_several_parts_is_one(tmp_path: Path, store: OciStore) -> None:
    """As `pigz -i` and `zstd -B` write them."""
    plain = layer(file("a", b"x" * 5000))
    for name, packed in {
        "gzip": b"".join(gzip.compress(plain[at : at + 999]) for at in range(0, len(plain), 999)) + bytes(64),
        "zstd": b"".join(zstd.compress(plain[at : at + 999]) for at in range(0, len(plain), 999)),
        "skipped": zstd.compress(plain) + struct.pack("<II", 0x184D2A50, 9) + b"not yours",
    }.items():
        found = await load(store, tmp_path, Image(packed=[packed], diff_ids=[digest_of(plain)]), f"{name}:1")
        assert (found.root / "a").read_bytes() == b"x" * 5000


def _window(power: int) -> bytes:
    """A frame of zstd (RFC 8878, 3.1.1) that wants so many bytes of memory, with one empty block."""
    return b"\x28\xb5\x2f\xfd" + bytes([0x00, (power - 10) << 3]) + struct.pack("<I", 1)[:3]


STREAMS = {
    "gzip and rubbish": lambda plain: gzip.compress(plain) + b"rubbish" * 100,
    "gzip and another kind": lambda plain: gzip.compress(plain) + zstd.compress(plain),
    "gzip that breaks off": lambda plain: gzip.compress(plain)[:-9],
    "gzip with a wrong sum": lambda plain: gzip.compress(plain)[:-8] + bytes(8),
    "zstd and rubbish": lambda plain: zstd.compress(plain) + b"rubbish" * 100,
    "zstd that breaks off": lambda plain: zstd.compress(plain)[:-3],
    "zstd that wants gigabytes": lambda plain: _window(41) + zstd.compress(plain),
    "zstd that wants two gigabytes": lambda plain: _window(31) + zstd.compress(plain),
    "zstd with a dictionary": lambda plain: (
        b"\x28\xb5\x2f\xfd" + bytes([0x03, 0x58]) + struct.pack("<I", 7) + plain[:20]
    ),
    "zstd with a part to skip that is longer than all": lambda plain: (
        zstd.compress(plain) + struct.pack("<II", 0x184D2A50, 0xFFFFFFFF)
    ),
    "nothing": lambda plain: b"",
    "zeros": lambda plain: bytes(10240),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_streams_that_do_not_end_as_they_say(name: str, tmp_path: Path, store: OciStore) -> None:
    plain = layer(file("a"))
    image = Image(packed=[STREAMS[name](plain)], diff_ids=[digest_of(plain)])
    with pytest.raises(ImageUnavailable) as caught:
        await load(store, tmp_path, image)
    assert "layer" in caught.value.message
    assert nothing_is_left(store)


async def test_parts_without_content_do_not_keep_the_platform_busy_for_long(tmp_path: Path, store: OciStore) -> None:
    """A hundred thousand of them, each with a header to be read."""
    plain = layer(file("a"))
    packed = gzip.compress(b"") * 100_000 + gzip.compress(plain)
    found = await load(store, tmp_path, Image(packed=[packed], diff_ids=[digest_of(plain)]))
    assert (found.root / "a").exists()


# Documents


async def test_kinds_of_both_houses_in_one_manifest(tmp_path: Path, store: OciStore) -> None:
    """Such images are there in the world: they are taken for what they are."""
    image = Image(layer(file("a")), layer(file("b")))
    image.manifest["layers"][1]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    image.manifest["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    assert {"a", "b"} <= paths((await load(store, tmp_path, image)).root)


DOCUMENTS = {
    "a deep one": lambda config: config[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a deep one of objects": lambda config: config[:-1] + b', "x": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    "one of fifty megabytes": lambda config: config[:-1] + b', "x": "' + b"x" * (50 << 20) + b'"}',
    "numbers for text": lambda config: config.replace(b'"linux"', b"1"),
    "a list for the whole": lambda config: b"[" + config + b"]",
    "no text at all": lambda config: b"\xff\xfe" + config,
    "half a character": lambda config: config.replace(b'"linux"', b'"\\ud800"'),
    "nothing": lambda config: b"",
}


@pytest.mark.bound("image-document")
@pytest.mark.parametrize("name", DOCUMENTS)
async def test_configurations_that_are_none(name: str, tmp_path: Path, store: OciStore) -> None:
    image = Image(layer(file("a")))
    config = DOCUMENTS[name](image.config)
    image.blobs[digest_of(config)] = config
    image.manifest["config"] |= {"digest": digest_of(config), "size": len(config)}
    with pytest.raises(ImageUnavailable) as caught:
        await load(store, tmp_path, image)
    assert len(caught.value.message) < 1000
    assert nothing_is_left(store)


@pytest.mark.bound("image-layers")
async def test_thousands_of_layers_are_refused_before_one_is_read(tmp_path: Path, store: OciStore) -> None:
    image = Image(layer(file("a")))
    image.manifest["layers"] *= 5000
    image.config = json.dumps({**json.loads(image.config), "rootfs": {"diff_ids": image.diff_ids * 5000}}).encode()
    image.blobs[digest_of(image.config)] = image.config
    image.manifest["config"] |= {"digest": digest_of(image.config), "size": len(image.config)}
    with pytest.raises(ImageUnavailable, match="more than 256 layers"):
        await load(store, tmp_path, image)
    assert nothing_is_left(store)
