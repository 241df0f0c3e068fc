"""Why an image's program cannot start, in words."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from hilbert.runtimes.oci import executable

PATH = "/usr/bin:/bin"
MACHINE = {"x86_64": 62, "aarch64": 183}.get(os.uname().machine, 62)


@pytest.fixture(autouse=True)
def no_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executable, "_emulates", lambda: False)
    monkeypatch.setattr(executable, "_RUNS", {os.uname().machine: {MACHINE}})


def write(root: Path, name: str, content: bytes, mode: int = 0o755) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def elf(machine: int, loader: str = "") -> bytes:
    """The least that a 64-bit little-endian program has: its header, and one that names its loader."""
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1 if loader else 0, 0, 0, 0)
    if not loader:
        return header
    text = loader.encode() + b"\0"
    return header + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(text), len(text), 1) + text


def why(root: Path, *argv: str, folder: str = "/") -> str:
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        return executable.why_not(descriptor, argv, folder, PATH)
    finally:
        os.close(descriptor)


def test_one_that_is_missing(tmp_path: Path) -> None:
    assert why(tmp_path, "/app/server") == "is not in the image"
    assert why(tmp_path, "server") == "is not in a folder of the image's PATH"
    assert why(tmp_path, "./server", folder="/app") == "is not in the image"


def test_one_that_is_not_executable(tmp_path: Path) -> None:
    write(tmp_path, "app", b"#!/bin/sh\n", 0o644)
    assert why(tmp_path, "/app") == "is not executable"


def test_the_next_folder_of_the_path_has_one_that_is(tmp_path: Path) -> None:
    write(tmp_path, "usr/bin/run", b"", 0o644)
    write(tmp_path, "bin/run", elf(MACHINE))
    assert why(tmp_path, "run") == ""


def test_a_script_without_its_interpreter(tmp_path: Path) -> None:
    write(tmp_path, "app", b"#!/usr/bin/python3 -u\nprint()\n")
    assert why(tmp_path, "/app") == "is a script for '/usr/bin/python3', which is not in the image"
    write(tmp_path, "usr/bin/python3", elf(MACHINE))
    assert why(tmp_path, "/app") == ""


def test_a_script_from_windows(tmp_path: Path) -> None:
    write(tmp_path, "bin/sh", elf(MACHINE))
    write(tmp_path, "app", b"#!/bin/sh\r\necho hi\r\n")
    assert "Windows line ends (CRLF)" in why(tmp_path, "/app")


def test_one_for_another_machine(tmp_path: Path) -> None:
    write(tmp_path, "app", elf(183 if MACHINE == 62 else 62))
    assert why(tmp_path, "/app").startswith(
        f"is made for {'arm64' if MACHINE == 62 else 'amd64'}, and this machine is "
    )


def test_one_without_its_loader(tmp_path: Path) -> None:
    write(tmp_path, "app", elf(MACHINE, "/lib/ld-musl.so.1"))
    assert why(tmp_path, "/app") == "needs '/lib/ld-musl.so.1', which is not in the image"
    write(tmp_path, "lib/ld-musl.so.1", b"")
    assert why(tmp_path, "/app") == ""


def test_links_are_followed_inside_the_image(tmp_path: Path) -> None:
    write(tmp_path, "bin/busybox", elf(MACHINE))
    (tmp_path / "bin/sh").symlink_to("/bin/busybox")
    write(tmp_path, "app", b"#!/bin/sh\n")
    assert why(tmp_path, "/app") == ""
    (tmp_path / "gone").symlink_to("/etc/hostname")  # Which is there on this machine, and not in the image.
    assert why(tmp_path, "/gone") == "is not in the image"


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF" + b"\xff" * 60, b"#!", b"#!\n", b"\0" * 500])
def test_what_is_not_understood_may_well_start(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "app", content)
    assert why(tmp_path, "/app") == ""


def test_what_is_mounted_at_the_start_is_not_looked_for(tmp_path: Path) -> None:
    assert why(tmp_path, "/proc/self/exe") == ""
    assert why(tmp_path, "/tmp/made-later") == ""
