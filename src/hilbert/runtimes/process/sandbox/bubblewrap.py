"""The strongest sandbox: bubblewrap gives each replica its own mounts, processes, IPC, host name and, if asked, network.

The host's `/usr` and a few files of `/etc` are there to read; nothing else of the host is. As root each namespace has a
user of its own; as an ordinary user, a user namespace. The end of process 1 inside ends everything inside.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hilbert.core.isolation import Promise
from hilbert.runtimes.process.interpreter import Interpreter
from hilbert.runtimes.process.sandbox import landlock
from hilbert.runtimes.process.sandbox.contract import BLOCK, FILTER, INFO, Command, Entry, Occupant, Places
from hilbert.runtimes.replica import seccomp

HOME: Final = "/home/app"
LAYERS: Final = "/opt/layers"
SECRETS: Final = "/var/openfaas/secrets"

_SYSTEM: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC: Final = (
    "alpine-release", "alternatives", "ca-certificates", "crypto-policies", "debian_version", "gai.conf", "host.conf",
    "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "lsb-release", "mime.types", "nsswitch.conf",
    "os-release", "pki", "protocols", "redhat-release", "resolv.conf", "services", "shells", "ssl/certs",
    "ssl/openssl.cnf", "timezone",
)  # fmt: skip
_USUAL: Final = ("/media", "/mnt", "/opt", "/run/lock", "/srv", "/var/cache", "/var/lib", "/var/log", "/var/spool")
"""Folders that every container has, empty."""
_LINKS: Final = {"/var/run": "/run", "/var/lock": "/run/lock", "/etc/mtab": "/proc/self/mounts"}


_FIRST_PROCESS: Final = (
    "/bin/sh",
    "-c",
    """
    "$@" &
    child=$!
    exec 3<&- 4<&- 5<&-
    trap 'kill -TERM "$child"' TERM
    status=0
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
        status=$?
    done
    exit "$status"
    """,
    "sh",
)
"""Process 1: waits for all orphans, as a watchdog that runs other people's code cannot, and ends as the watchdog does.
It keeps no copy of the socket. A shell is there everywhere, and takes a twentieth of another interpreter's memory."""


class Bubblewrap:
    """Makes the command line. What is the same for all replicas is worked out once."""

    level = "bubblewrap"

    def __init__(self, interpreter: Interpreter, *, executable: str, features: str, scratch: int) -> None:
        """`scratch`: most bytes in `/tmp`, in memory and counted against its limit; 0 is no limit. `features` is what `bwrap --help` prints: older versions lack some options."""
        self._interpreter = interpreter
        self._executable = executable
        self._root = os.geteuid() == 0
        self._can_size = "--size" in features
        self._scratch = scratch
        self._no_nesting = "--disable-userns" in features and not self._root
        self._scope = landlock.abi() >= 6
        self._filter = seccomp.program(apart=True) if seccomp.supported() else b""
        self._head = self._fixed_head()
        self._system = self._fixed_mounts()

    def command(self, occupant: Occupant) -> Command:
        layers = tuple(f"{LAYERS}/{path.name}" for path in occupant.bundle.layers)
        argv = [*self._head, "--hostname", occupant.host[:64]]
        if occupant.user is not None:  # To become that user, who then has none of these either.
            argv += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
            argv += ["--cap-add", "CAP_KILL"]  # For the first process, to pass a signal on.
        if not occupant.network:
            argv.append("--unshare-net")
        argv += self._system
        for name in ("passwd", "group", "hostname", *occupant.etc):
            argv += ["--ro-bind", str(occupant.folder / "etc" / name), f"/etc/{name}"]
        argv += ["--ro-bind", str(occupant.bundle.path), HOME]
        for path, place in zip(occupant.bundle.layers, layers, strict=True):
            argv += ["--ro-bind", str(path), place]
        if occupant.spare:  # Its layers are mounted later, on folders that are made in this one.
            argv += ["--ro-bind", str(occupant.folder / "layers"), LAYERS]
        argv += ["--ro-bind", str(occupant.folder / "secrets"), SECRETS]
        argv += ["--remount-ro", "/"] if occupant.read_only else []
        argv += ["--die-with-parent"] if occupant.bound else []
        argv += ["--info-fd", str(INFO), "--block-fd", str(BLOCK)]
        if self._filter:
            argv += ["--seccomp", str(FILTER)]
        return Command(
            argv=(*argv, "--", *_FIRST_PROCESS),
            entry=Entry(paths=self._interpreter.paths, chdir=HOME, spare=True)
            if occupant.spare
            else Entry(paths=self._interpreter.paths, chdir=HOME, user=occupant.user, scope=self._scope),
            places=Places(bundle=HOME, layers=layers, secrets=SECRETS, scratch="/tmp"),  # noqa: S108 - its own
            isolated=True,
            filter=self._filter,
        )

    def promises(self, *, network: bool, own_user: bool) -> frozenset[Promise]:  # noqa: ARG002 - the protocol's
        held = {Promise.FILES, Promise.PROCESSES, Promise.IPC, Promise.REMAINS}
        if self._scope or not network:
            held.add(Promise.SOCKETS)
        if self._filter:
            held.add(Promise.SYSTEM_CALLS)
        if self._can_size and self._scratch:
            held.add(Promise.SCRATCH)
        if not network:
            held.add(Promise.NETWORK)
        return frozenset(held)

    def facts(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if not self._scope:
            found["warning.abstract-sockets"] = (
                "functions that share the host's network can reach its abstract unix sockets (needs Linux 6.12)"
            )
        if not self._filter:
            found["warning.system-calls"] = "system calls are not filtered on this architecture"
        return found

    def _fixed_head(self) -> list[str]:
        head = [self._executable, "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        head += ["--new-session", "--as-pid-1"]
        head += ["--cap-drop", "ALL", "--chdir", "/"]
        if not self._root:
            head.append("--unshare-user")
        return [*head, "--disable-userns"] if self._no_nesting else head

    def _fixed_mounts(self) -> list[str]:
        mounts = [*self._tmpfs("/", self._scratch // 2), "--ro-bind", "/usr", "/usr"]
        for name in _SYSTEM:
            path = Path("/") / name
            if path.is_symlink():
                mounts += ["--symlink", str(path.readlink()), str(path)]
            elif path.is_dir():
                mounts += ["--ro-bind", str(path), str(path)]
        mounts += ["--proc", "/proc", "--dev", "/dev"]
        mounts += [*self._tmpfs("/dev/shm", self._scratch // 2), "--remount-ro", "/dev"]  # noqa: S108
        mounts += [*self._tmpfs("/tmp", self._scratch), "--perms", "1777", "--dir", "/var/tmp", "--dir", "/run"]  # noqa: S108
        shown = [f"/etc/{name}" for name in _ETC if Path("/etc", name).exists()]
        # Last the interpreter: it may be anywhere, also below /tmp.
        shown += [folder for folder in self._interpreter.folders if not Path(folder).is_relative_to("/usr")]
        # Folders that bubblewrap makes by itself on the way would be closed to the namespace's user.
        ways = {parent for place in (*shown, HOME, f"{LAYERS}/x", SECRETS) for parent in Path(place).parents}
        ways |= {Path(folder) for folder in _USUAL}
        for way in sorted(ways - {Path("/"), Path("/tmp")}):  # noqa: S108
            mounts += ["--dir", str(way)]
        for link, target in _LINKS.items():
            mounts += ["--symlink", target, link]
        for place in shown:
            mounts += ["--ro-bind", place, place]
        return mounts

    def _tmpfs(self, place: str, most: int) -> list[str]:
        size = ["--size", str(most)] if self._can_size and most else []
        return ["--perms", "1777", *size, "--tmpfs", place]
