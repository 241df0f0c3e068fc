"""What an image starts: its program, its user by the image's own files, its environment. Pure but for files of the image."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.errors import StartFailed
from hilbert.core.ports import ReplicaPlan
from hilbert.images.model import LocalImage
from hilbert.images.tree import shown
from hilbert.kit.mounts import open_in
from hilbert.runtimes.oci.executable import why_not

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECRETS: Final = "/var/openfaas/secrets"
"""Where a function finds its secrets."""
_FILE_MOST: Final = 1 << 20
_HIGHEST: Final = (1 << 31) - 1
_DIGITS_MOST: Final = 20
"""Of a number that is worth reading."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """One image's, as it runs for one function."""

    argv: tuple[str, ...]
    user: int
    group: int
    folder: str
    """Where it starts."""
    environment: Mapping[str, str]


def program_of(image: LocalImage, plan: ReplicaPlan) -> Program:
    """Raises `StartFailed` for an image that does not say enough. Blocks for some small reads."""
    config = image.config
    argv = (*config.entrypoint, *config.cmd)
    if not argv or not argv[0]:
        raise StartFailed(
            f"image {image.name} does not say which program to start",
            hint="give it an ENTRYPOINT or a CMD and build it again",
        )
    root = os.open(image.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        user, group, home = _user(root, config.user, image.name)
    finally:
        os.close(root)
    environment = {"PATH": _PATH, "HOME": home, **_pairs(config.env), **plan.spec.env}
    if plan.spec.process:
        environment["fprocess"] = plan.spec.process
    environment |= {
        "HOSTNAME": plan.replica,
        "OPENFAAS_NAME": plan.spec.ref.name,
        "OPENFAAS_NAMESPACE": plan.spec.ref.namespace,
    }
    folder = "/" + posixpath.normpath(f"/{config.working_dir}").lstrip("/")  # As other engines do.
    for text in (*argv, folder, *environment, *environment.values()):
        if "\0" in text:
            raise StartFailed(f"image {image.name}: its program or environment has a NUL character in it")
    root = os.open(image.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if reason := why_not(root, argv, folder, environment["PATH"]):
            raise StartFailed(f"image {image.name}: its program {shown(argv[0])} {reason}")
    finally:
        os.close(root)
    return Program(argv=argv, user=user, group=group, folder=folder, environment=environment)


def accounts_of(root: Path) -> list[tuple[str, int]]:
    """Name and number of each account in an image's own `/etc/passwd`. Blocks for a small file."""
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        rows = _table(top, "/etc/passwd", 3)
    finally:
        os.close(top)
    return [(row[0], number) for row in rows if (number := _number(row[2])) is not None]


def _pairs(lines: tuple[str, ...]) -> dict[str, str]:
    split = (line.partition("=") for line in lines)
    return {name: value for name, equals, value in split if name and equals}


def _user(root: int, text: str, image: str) -> tuple[int, int, str]:
    """User, group and home folder of `name`, `name:group`, `uid`, `uid:gid` or nothing, which is root."""
    name, colon, group_name = text.partition(":")
    name = name or "0"
    accounts = _table(root, "/etc/passwd", 6)
    row = next((row for row in accounts if row[0] == name), None) or next(
        (row for row in accounts if row[2] == name and name.isdecimal()), None
    )
    user = row[2] if row is not None else name
    group, home = (row[3], row[5]) if row is not None else ("0", "/")
    if colon and group_name:
        group = next((row[2] for row in _table(root, "/etc/group", 3) if row[0] == group_name), group_name)
    numbers = []
    for what, value in (("user", user), ("group", group)):
        number = _number(value)
        if number is None:
            raise StartFailed(f"image {image} runs as {shown(text)}, but has no {what} {shown(value)} in its own /etc")
        numbers.append(number)
    return numbers[0], numbers[1], home if home.startswith("/") and "\0" not in home else "/"


def _number(text: str) -> int | None:
    """Of a user or a group; None for what is none."""
    if len(text) > _DIGITS_MOST or not (text.isascii() and text.isdecimal()):
        return None
    return number if (number := int(text)) <= _HIGHEST else None


def _table(root: int, path: str, columns: int) -> list[list[str]]:
    try:
        descriptor = open_in(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        text = os.pread(descriptor, _FILE_MOST, 0).decode(errors="replace")
    except OSError:  # A folder, for one.
        return []
    finally:
        os.close(descriptor)
    return [row for line in text.splitlines() if len(row := line.split(":")) >= columns]
