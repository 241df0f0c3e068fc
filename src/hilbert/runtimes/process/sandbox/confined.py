"""The sandboxes without mounts of their own: Landlock, and the plain process with nothing but limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from hilbert.core.isolation import Promise
from hilbert.runtimes.process.interpreter import Interpreter
from hilbert.runtimes.process.sandbox import landlock
from hilbert.runtimes.process.sandbox.contract import Command, Entry, Occupant, Places
from hilbert.runtimes.replica import seccomp

_READ: Final = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives", "/etc/ca-certificates",
    "/etc/crypto-policies", "/etc/gai.conf", "/etc/group", "/etc/host.conf", "/etc/hosts", "/etc/ld.so.cache",
    "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/passwd",
    "/etc/pki", "/etc/protocols", "/etc/resolv.conf", "/etc/services", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
    "/etc/timezone", "/proc/self", "/proc/cpuinfo", "/proc/filesystems", "/proc/loadavg", "/proc/meminfo", "/proc/stat",
    "/proc/sys", "/proc/uptime", "/proc/version", "/sys/devices/system/cpu", "/run/systemd/resolve/stub-resolv.conf",
    "/run/systemd/resolve/resolv.conf",
)  # fmt: skip
_MARK: Final = "HILBERT_REPLICA"
"""In the environment of the watchdog's program; its children have the folder in theirs, as that of their secrets."""

_WRITE: Final = ("/proc/self/fd/1", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")


class Landlock:
    """All files closed but the system's and the replica's own; no neighbours, no unix sockets, no new privileges."""

    level = "landlock"

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._abi = landlock.abi()
        self._filter = seccomp.supported()

    def command(self, occupant: Occupant) -> Command:
        places = _places(occupant)
        if occupant.spare:
            return _spare(occupant, places, self._interpreter, unix_sockets=not self._filter)
        read = (*_READ, *self._interpreter.folders, places.bundle, *places.layers, places.secrets)
        return Command(
            argv=(),
            entry=Entry(
                paths=self._interpreter.paths,
                chdir=places.bundle,
                user=occupant.user,
                drop=True,
                own_network=not occupant.network,
                etc=_etc(occupant),
                landlock=True,
                read=read,
                write=(*_WRITE, places.scratch),
                filter=self._filter,
                metadata=occupant.user is not None,
                parent=os.getpid() if occupant.bound else 0,
            ),
            places=places,
            isolated=False,
            mark={_MARK: str(occupant.folder)},
            unix_sockets=not self._filter,
        )

    def promises(self, *, network: bool, own_user: bool) -> frozenset[Promise]:
        held = {Promise.FILES} if self._filter or own_user else set()
        if own_user or (self._filter and self._abi >= 6):
            held.add(Promise.PROCESSES)
        return frozenset(held) | _filtered(network=network, filtered=self._filter)

    def facts(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if self._abi < 6:
            found["warning.signals"] = (
                "functions can signal each other's processes and reach abstract unix sockets (needs Linux 6.12)"
            )
        if not self._filter:
            found["warning.sockets"] = "functions can reach the platform's unix sockets: no system call filter here"
        return found


class Plain:
    """A process with limits, unable to gain privileges, and nothing else between it and the rest of this user's files."""

    level = "process"

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter

    def command(self, occupant: Occupant) -> Command:
        places = _places(occupant)
        if occupant.spare:
            return _spare(occupant, places, self._interpreter, unix_sockets=not seccomp.supported())
        entry = Entry(
            paths=self._interpreter.paths,
            chdir=places.bundle,
            user=occupant.user,
            drop=True,
            own_network=not occupant.network,
            etc=_etc(occupant),
            filter=seccomp.supported(),
            metadata=True,
            parent=os.getpid() if occupant.bound else 0,
        )
        return Command(
            argv=(),
            entry=entry,
            places=places,
            isolated=False,
            mark={_MARK: str(occupant.folder)},
            unix_sockets=not seccomp.supported(),
        )

    def promises(self, *, network: bool, own_user: bool) -> frozenset[Promise]:
        held = {Promise.FILES, Promise.PROCESSES} if own_user else set()
        return frozenset(held) | _filtered(network=network, filtered=seccomp.supported())

    def facts(self) -> Mapping[str, str]:
        who = "root, which owns everything" if os.geteuid() == 0 else "this user"
        return {
            "warning.sandbox": (
                f"functions are plain processes: those of one namespace can read the files and secrets of another, and "
                f"all that {who} can read; install bubblewrap, or use a kernel with Landlock"
            )
        }


def _spare(occupant: Occupant, places: Places, interpreter: Interpreter, *, unix_sockets: bool) -> Command:
    """A process that has nothing of its own but a network. It gives up the rest once it knows who it is."""
    return Command(
        argv=(),
        entry=Entry(paths=interpreter.paths, chdir="/", own_network=True, spare=True),
        places=places,
        isolated=False,
        mark={_MARK: str(occupant.folder)},
        unix_sockets=unix_sockets,
    )


def _etc(occupant: Occupant) -> tuple[tuple[str, str], ...]:
    return tuple((str(occupant.folder / "etc" / name), f"/etc/{name}") for name in occupant.etc)


def _filtered(*, network: bool, filtered: bool) -> frozenset[Promise]:
    """What the system call filter and a network of its own hold, at either level."""
    held = {Promise.SOCKETS, Promise.SYSTEM_CALLS, Promise.IPC} if filtered else set()
    return frozenset(held if network else {*held, Promise.NETWORK})


def _places(occupant: Occupant) -> Places:
    return Places(
        bundle=str(occupant.bundle.path),
        layers=tuple(map(str, occupant.bundle.layers)),
        secrets=str(occupant.folder / "secrets"),
        scratch=str(occupant.folder / "tmp"),
    )
