"""Copying folders, and their digests."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from hilbert.builder import tree
from hilbert.builder.build_errors import InvalidHandler
from hilbert.builder.tree import check_tree, copy_tree, digest_tree, remove_tree, size_of, sync_tree
from support.build import write


def test_copies_files_with_plain_modes(tmp_path: Path) -> None:
    """Only the executable bit survives; what no build should get is left out."""
    source = write(
        tmp_path / "s", {"a.py": "a", "sub/run.sh": "b", ".git/x": "", "__pycache__/y": "", ".secrets/k": "s"}
    )
    (source / "sub" / "run.sh").chmod(0o4711)
    (source / "a.py").chmod(0o600)
    copy_tree(source, tmp_path / "t")
    names = sorted(str(path.relative_to(tmp_path / "t")) for path in (tmp_path / "t").rglob("*"))
    assert names == ["a.py", "sub", "sub/run.sh"]
    assert (tmp_path / "t" / "a.py").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "t" / "sub" / "run.sh").stat().st_mode & 0o7777 == 0o755


def test_top_names_are_left_out_at_the_top_only(tmp_path: Path) -> None:
    """A handler in the project's own folder must not copy `build` into itself."""
    source = write(tmp_path / "s", {"build/x": "1", "lib/build/y": "2"})
    copy_tree(source, tmp_path / "t", top={"build"})
    assert not (tmp_path / "t" / "build").exists()
    assert (tmp_path / "t" / "lib" / "build" / "y").read_text() == "2"


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "sub/../../outside", "loop"])
def test_links_that_lead_out_are_refused(tmp_path: Path, target: str) -> None:
    """A link must not bring in what is not in the folder, nor lead astray once copied."""
    write(tmp_path, {"outside": "secret"})
    source = write(tmp_path / "s", {"sub/x": ""})
    (source / "link").symlink_to(target)
    if target == "loop":
        (source / "loop").symlink_to("../s/../outside")
    for work in (lambda: copy_tree(source, tmp_path / "t"), lambda: check_tree(source)):
        with pytest.raises(InvalidHandler, match="leads out of its folder"):
            work()


def test_links_inside_stay_links(tmp_path: Path) -> None:
    """As in an npm project."""
    source = write(tmp_path / "s", {"lib/a": "1"})
    (source / "sub").mkdir()
    (source / "sub" / "link").symlink_to("../lib/a")
    copy_tree(source, tmp_path / "t")
    assert os.readlink(tmp_path / "t" / "sub" / "link") == "../lib/a"
    assert (tmp_path / "t" / "sub" / "link").read_text() == "1"


def test_what_is_no_file_is_refused() -> None:
    """Pipes and sockets cannot be built."""
    with tempfile.TemporaryDirectory(prefix="hb-") as folder:
        source = Path(folder) / "s"
        source.mkdir()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(source / "sock"))
        with pytest.raises(InvalidHandler, match="is not a file, a folder or a link"):
            copy_tree(source, Path(folder) / "t")


@pytest.mark.bound("handler-files")
def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody gave the home folder as the handler."""
    source = write(tmp_path / "s", {f"f{n}": "" for n in range(5)})
    monkeypatch.setattr(tree, "MOST_FILES", 4)
    with pytest.raises(InvalidHandler, match="more than 4 files"):
        copy_tree(source, tmp_path / "t")


def test_digest_is_of_content_alone(tmp_path: Path) -> None:
    """Equal content, equal digest, whatever the times, owners and compiled files; anything else differs."""
    files = {"a": "1", "b/c": "2"}
    one, two = write(tmp_path / "one", files), write(tmp_path / "two", dict(reversed(files.items())))
    os.utime(two / "a", (1, 1))
    write(two, {"b/__pycache__/c.pyc": "x"})
    assert digest_tree(one) == digest_tree(two)
    seen = {digest_tree(one)}
    for change in (
        lambda: (two / "a").write_text("2"),
        lambda: (two / "a").chmod(0o755),
        lambda: (two / "b" / "c").rename(two / "b" / "d"),
        lambda: (two / "empty").mkdir(),
        lambda: (two / "link").symlink_to("a"),
    ):
        change()
        digest = digest_tree(two)
        assert digest not in seen
        seen.add(digest)


def test_names_and_contents_cannot_be_confused(tmp_path: Path) -> None:
    """The digest frames what it takes in."""
    one = write(tmp_path / "one", {"ab": "c"})
    two = write(tmp_path / "two", {"a": "bc"})
    assert digest_tree(one) != digest_tree(two)


def test_sync_size_and_removal(tmp_path: Path) -> None:
    """Also with many files, and with folders that are read-only."""
    folder = write(tmp_path / "f", {f"d/f{n}": "xx" for n in range(100)})
    sync_tree(folder)
    sync_tree(folder / "d")
    assert size_of(folder) == 200
    (folder / "d").chmod(0o500)
    remove_tree(folder)
    assert not folder.exists()
    remove_tree(folder)
