"""OCI runtimes of this machine: crun and runc for images with several user ids, runsc (gVisor) for a kernel of a replica's own."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.errors import StartFailed
from hilbert.core.isolation import Promise
from hilbert.runtimes.oci import bundle, id_maps, user_ids
from hilbert.runtimes.oci.launch import Launching
from hilbert.runtimes.oci.messages import Engine, Launch
from hilbert.runtimes.oci.program import SECRETS, Program
from hilbert.runtimes.oci.sandbox import ALWAYS
from hilbert.runtimes.oci.trial import FOLDERS, PROGRAM, trial
from hilbert.runtimes.replica import seccomp, seccomp_document

_PATH: Final = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
MANY_IDS: Final = ("crun", "runc")
"""The first that works is used."""
GVISOR: Final = "runsc"


class EngineSandbox:
    """One OCI runtime. The same questions as `sandbox.Bubblewrap`."""

    def __init__(self, name: str, path: str, *, scratch: int, mappers: Sequence[Sequence[str]] = ()) -> None:
        """`scratch` as there. `mappers` are what gives ids to an ordinary user's processes (`user_ids.mappers`)."""
        self.name = name
        self.scratch = scratch
        self.filter = seccomp.program_of_newer() if name == "runc" and seccomp.supported() else b""
        """Given by a descriptor; the rest is in the document."""
        self._mappers = tuple(map(tuple, mappers))
        self._program = seccomp.program(apart=True) if name == "crun" and seccomp.supported() else b""
        self._document = seccomp_document.document() if name == "runc" and seccomp.supported() else None
        ordinary = os.geteuid() != 0
        options = {
            "crun": ("--cgroup-manager", "disabled"),
            "runc": (),
            "runsc": ("--network", "host", "--ignore-cgroups", *(("--rootless",) if ordinary else ())),
        }
        self.engine = Engine(path=path, options=options[name], mappers=self._mappers)

    @property
    def many_ids(self) -> bool:
        """It keeps an image's users apart. As an ordinary user, it has to have been given ids for them."""
        return self.name == GVISOR or os.geteuid() == 0 or bool(self._mappers)

    def arguments(self, program: Program, *, host: str, writable: bool, block: tuple[int, int] | None) -> bytes:
        """The document that it starts. `block` is of ids that it has to map itself: as root, and not in gVisor."""
        return bundle.document(
            program,
            host=host,
            writable=writable,
            scratch=self.scratch,
            block=block,
            filter_program=self._program,
            filter_document=self._document,
            changing=(SECRETS,) if self.name == GVISOR else (),
        )

    def promises(self, *, limits: bool) -> frozenset[Promise]:
        """What it holds, with a network of its own. `limits`: the machine can keep that promise."""
        held = set(ALWAYS)
        if self.name == GVISOR:
            held |= {Promise.KERNEL, Promise.SYSTEM_CALLS}
            held |= {Promise.SCRATCH} if limits else set()  # Its files in memory count as memory, and only there.
        else:
            held |= {Promise.SCRATCH} if self.scratch else set()
            held |= {Promise.SYSTEM_CALLS} if self._program or self._document else set()
        if limits:
            held.add(Promise.LIMITS)
        return frozenset(held)


class Engines(msgspec.Struct, frozen=True, kw_only=True):
    """What works here."""

    many_ids: EngineSandbox | None = None
    gvisor: EngineSandbox | None = None
    why: Mapping[str, str] = {}
    """Why one does not work, by its name."""

    @property
    def why_no_many_ids(self) -> str:
        return "; ".join(f"{name}: {self.why[name]}" for name in MANY_IDS if name in self.why)

    @property
    def why_no_gvisor(self) -> str:
        return f"{GVISOR}: {self.why[GVISOR]}" if GVISOR in self.why else ""

    def facts(self) -> dict[str, str]:
        """For `/system/info` and `doctor`."""
        return {
            "images.many-users": self.many_ids.name if self.many_ids else f"refused: {self.why_no_many_ids}",
            "images.gvisor": self.gvisor.name if self.gvisor else f"refused: {self.why_no_gvisor}",
        }


async def survey(
    folder: Path, launching: Launching, *, scratch: int, block: tuple[int, int] | None, writable: bool
) -> Engines:
    """Try each by starting an image that has nothing in it. `folder` is where images lie, or a file system alike.

    `block` is a tenant's, as root. Never raises.
    """
    ordinary = os.geteuid() != 0
    mappers = await asyncio.to_thread(user_ids.mappers) if ordinary else ()
    why: dict[str, str] = {}
    found: dict[str, EngineSandbox] = {}

    async def look(name: str) -> None:
        path = shutil.which(name, path=_PATH)
        if path is None:
            why[name] = "not installed"
        elif name != GVISOR and ordinary and not mappers:
            why[name] = (
                "this user has no ids to give: it takes newuidmap (package uidmap) and a line in /etc/subuid and /etc/subgid"
            )
        elif name != GVISOR and not ordinary and block is None:
            why[name] = "there are not enough user ids here"
        else:
            sandbox = EngineSandbox(name, path, scratch=scratch, mappers=mappers)
            try:
                failed = await _try(folder, launching, sandbox, block=block, writable=writable)
            except (OSError, StartFailed) as exc:
                failed = exc.detail or exc.message if isinstance(exc, StartFailed) else str(exc)
            if failed:
                why[name] = failed
            else:
                found[name] = sandbox

    await look(MANY_IDS[0])
    if MANY_IDS[0] not in found:
        await look(MANY_IDS[1])
    await look(GVISOR)
    many = next((found[name] for name in MANY_IDS if name in found), None)
    return Engines(many_ids=many, gvisor=found.get(GVISOR), why=why)


async def _try(
    folder: Path, launching: Launching, sandbox: EngineSandbox, *, block: tuple[int, int] | None, writable: bool
) -> str:
    place = folder / f"trial-{secrets.token_hex(4)}"
    program = Program(argv=(PROGRAM,), user=0, group=0, folder="/", environment={})
    mapped = block if os.geteuid() == 0 and sandbox.name != GVISOR else None
    order = Launch(
        request=0,
        bwrap="",
        engine=sandbox.engine,
        argv=program.argv,
        mark=str(place),
        image=str(place),
        writable=(1 << 20) * writable,
        covers=(),
        folder="/",
        user=(mapped[0], mapped[0]) if mapped else None,
        id_map=id_maps.block(*mapped) if mapped else None,
    )
    arguments = sandbox.arguments(program, host="trial", writable=writable, block=mapped)
    try:
        for name in FOLDERS:
            (place / name).mkdir(parents=True)
        return await trial(launching, order, arguments=arguments, call_filter=b"")
    finally:
        shutil.rmtree(place, ignore_errors=True)
