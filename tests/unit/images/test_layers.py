"""Layers become one tree by the rules of OCI: later ones win, whiteouts hide, links are followed inside the tree."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from hilbert.images.assemble import MOUNT_POINTS, MOUNTED_FILES
from support.images import entry, file, folder, hardlink, layer, paths, symlink, tree_of


def test_a_later_layer_adds_and_replaces(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        layer(folder("app"), file("app/a", b"1"), file("app/b", b"1"), file("c"), folder("d"), file("d/x")),
        layer(file("app/b", b"2"), file("e", mode=0o751), folder("c"), file("c/in"), file("d", b"now a file")),
    )
    assert paths(tree) == {"app", "app/a", "app/b", "c", "c/in", "d", "e"}
    assert (tree / "app/a").read_text() == "1"
    assert (tree / "app/b").read_text() == "2"
    assert (tree / "d").read_text() == "now a file"
    assert (tree / "e").stat().st_mode & 0o777 == (0o751 if os.geteuid() == 0 else 0o751 | 0o600)


def test_whiteouts_hide_what_lower_layers_have_and_nothing_of_their_own(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        layer(file("a/x"), file("a/y"), file("b/x"), file("b/sub/z"), file("c")),
        layer(
            file("a/.wh.x"),
            file("b/.wh..wh..opq"),
            file("b/new"),
            file(".wh.c"),
            file("c", b"again"),
            file("a/.wh.never"),
        ),
    )
    assert paths(tree) == {"a", "a/y", "b", "b/new", "c"}
    assert (tree / "c").read_text() == "again"


def test_what_aufs_keeps_for_itself_is_left_out(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, layer(file("a"), folder(".wh..wh.plnk"), file(".wh..wh.aufs"), file(".wh..wh.plnk/1.2")))
    assert "a" in paths(tree)
    assert not [name for name in paths(tree) if name.endswith("aufs")]


def test_files_below_a_link_to_a_folder_go_where_it_leads(tmp_path: Path) -> None:
    """As in Debian, where /lib is a link to usr/lib and later layers name /lib/..."""
    tree = tree_of(
        tmp_path,
        layer(folder("usr/lib"), file("usr/lib/one"), symlink("lib", "usr/lib"), symlink("abs", "/usr/lib")),
        layer(file("lib/two"), file("abs/three"), file("lib/.wh.one")),
    )
    assert (tree / "lib").is_symlink()
    assert {name for name in paths(tree) if name.startswith("usr/lib/")} == {"usr/lib/two", "usr/lib/three"}


def test_a_folder_that_is_named_takes_the_place_of_a_link(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, layer(folder("usr/lib"), symlink("lib", "usr/lib")), layer(folder("lib"), file("lib/two")))
    assert not (tree / "lib").is_symlink()
    assert paths(tree) == {"usr", "usr/lib", "lib", "lib/two"}


def test_hard_links_share_one_file_also_across_layers(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path, layer(file("a", b"x"), hardlink("b", "a")), layer(hardlink("c", "/a"), hardlink("d", "./c"))
    )
    assert {(tree / name).stat().st_ino for name in "abcd"} == {(tree / "a").stat().st_ino}


def test_times_and_contents_stay(tmp_path: Path) -> None:
    """Python compares the time of a source with the one in its compiled file."""
    tree = tree_of(tmp_path, layer(folder("lib"), file("lib/a.py", b"x = 1", mtime=1_700_000_000)))
    assert (tree / "lib/a.py").stat().st_mtime == 1_700_000_000
    assert (tree / "lib").stat().st_mtime == 0


def test_sparse_files_keep_their_holes(tmp_path: Path) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as file_:
        file_.write(b"begin")
        file_.seek(8 << 20)
        file_.write(b"end")
    archive = tmp_path / "sparse.tar"
    os.system(f"tar --sparse --format=gnu -C {tmp_path} -cf {archive} sparse")
    tree = tree_of(tmp_path, archive.read_bytes())
    assert (tree / "sparse").read_bytes() == source.read_bytes()
    assert (tree / "sparse").stat().st_blocks * 512 < 1 << 20


def test_long_and_odd_names(tmp_path: Path) -> None:
    long = "/".join(["d" * 200] * 5) + "/" + "f" * 255
    tree = tree_of(
        tmp_path, layer(file(long, b"x"), file("line\nbreak"), file("-rf"), file("a b\t$HOME"), file("\udcff\udcfe"))
    )
    assert (tree / long).read_bytes() == b"x"
    assert {"line\nbreak", "-rf", "a b\t$HOME", "\udcff\udcfe"} <= paths(tree)


def test_every_tree_has_what_a_runtime_mounts_on(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, layer(file("app")))
    assert all((tree / point).is_dir() and not (tree / point).is_symlink() for point in MOUNT_POINTS)
    assert all((tree / name).is_file() and not (tree / name).is_symlink() for name in MOUNTED_FILES)
    assert (tree / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert tree.stat().st_mode & 0o777 == 0o755


def test_mount_points_that_are_links_become_real(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        layer(
            symlink("proc", "/host"), symlink("tmp", "/var/tmp"), file("dev", b"a file"), folder("etc"), symlink("run", "a"),
            symlink("etc/resolv.conf", "../run/resolv.conf"), symlink("etc/hosts", "/etc/passwd"), file("etc/hostname", b"mine"),
        ),
    )  # fmt: skip
    assert all((tree / point).is_dir() and not (tree / point).is_symlink() for point in MOUNT_POINTS)
    assert (tree / "etc/resolv.conf").read_bytes() == (tree / "etc/hosts").read_bytes() == b""
    assert (tree / "etc/hostname").read_bytes() == b"mine"


def test_owners_are_kept_by_root_alone(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path, layer(file("a", uid=100, gid=101), folder("b", uid=7), file("c", uid=4_000_000, mode=0)), owners=False
    )
    assert {(tree / name).stat().st_uid for name in "abc"} == {os.geteuid()}
    assert (tree / "c").stat().st_mode & 0o600 == 0o600, "or it could not be read and removed again"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")
def test_owners_as_root(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        layer(
            file("a", uid=100, gid=101, mode=0o600),
            folder("b", uid=7),
            file("c", uid=4_000_000, gid=65535),
            symlink("l", "a"),
        ),
        owners=True,
    )
    assert ((tree / "a").stat().st_uid, (tree / "a").stat().st_gid, (tree / "a").stat().st_mode & 0o777) == (
        100,
        101,
        0o600,
    )
    assert (tree / "b").stat().st_uid == 7
    assert ((tree / "c").stat().st_uid, (tree / "c").stat().st_gid) == (65534, 65535), (
        "tenants' own user ids are higher"
    )


def test_old_kinds_of_folders(tmp_path: Path) -> None:
    """A trailing slash is all that some old programs wrote."""
    tree = tree_of(tmp_path, layer(entry("a/", tarfile.AREGTYPE), file("a/b")))
    assert paths(tree) == {"a", "a/b"}
