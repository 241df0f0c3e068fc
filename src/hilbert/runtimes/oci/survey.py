"""What this machine can do for images, found out by starting one that has nothing in it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.errors import HilbertError, StartFailed
from hilbert.runtimes.oci import id_maps
from hilbert.runtimes.oci.launch import Launching
from hilbert.runtimes.oci.messages import Launch
from hilbert.runtimes.oci.program import Program
from hilbert.runtimes.oci.sandbox import Bubblewrap
from hilbert.runtimes.oci.trial import FOLDERS, PROGRAM, trial
from hilbert.runtimes.replica import bwrap

_USER: Final = 1000


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What works here."""

    sandbox: Bubblewrap | None = None
    """None: images cannot run."""
    writable: bool = False
    """Replicas can have a root to write to."""
    id_map: bool = False
    """What an image's user owns there belongs to the tenant's user."""
    why: Mapping[str, str] = {}
    """Why a part does not work, by its name: `images`, `writable`, `owners`."""

    def facts(self) -> dict[str, str]:
        """For `/system/info` and `doctor`."""
        if self.sandbox is None:
            return {"warning.images": f"container images cannot run here: {self.why.get('images', '')}"}
        found = {"images": "bubblewrap", "images.root": "writable, in memory" if self.writable else "read-only"}
        if not self.writable:
            found["warning.images-root"] = f"images have a root that is read-only: {self.why.get('writable', '')}"
        if not self.id_map and os.geteuid() == 0:
            found["warning.images-owners"] = (
                f"images that read files of their own user may not start: {self.why.get('owners', '')}"
            )
        return found


async def survey(folder: Path, launching: Launching, *, scratch: int, user: tuple[int, int] | None) -> Abilities:
    """Try from the best. `folder` is where images lie, or a file system alike; `user` is a tenant's. Never raises."""
    why: dict[str, str] = {}
    try:
        executable, features = await bwrap.find()
    except HilbertError as exc:
        return Abilities(why={"images": exc.message})
    sandbox = Bubblewrap(executable, features, scratch=scratch)
    place = folder / f"trial-{secrets.token_hex(4)}"
    try:
        for name in FOLDERS:
            (place / name).mkdir(parents=True)
        id_map = user is not None
        if id_map and (failed := await _try(place, launching, sandbox, writable=True, id_map=True, user=user)):
            why["owners"], id_map = failed, False
        if id_map or not (failed := await _try(place, launching, sandbox, writable=True, id_map=False, user=user)):
            return Abilities(sandbox=sandbox, writable=True, id_map=id_map, why=why)
        why["writable"] = failed
        id_map = user is not None
        if id_map and (failed := await _try(place, launching, sandbox, writable=False, id_map=True, user=user)):
            why["owners"], id_map = failed, False
        if id_map or not (failed := await _try(place, launching, sandbox, writable=False, id_map=False, user=user)):
            return Abilities(sandbox=sandbox, writable=False, id_map=id_map, why=why)
        return Abilities(why={**why, "images": failed})
    except OSError as exc:
        return Abilities(why={**why, "images": str(exc)})
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _order(place: Path, sandbox: Bubblewrap, *, writable: bool, user: tuple[int, int] | None, id_map: bool) -> Launch:
    return Launch(
        request=0,
        bwrap=sandbox.executable,
        argv=(PROGRAM,),
        mark=str(place),
        image=str(place),
        writable=(1 << 20) * writable,
        covers=(),
        folder="/",
        user=user,
        id_map=id_maps.one_user((_USER, _USER), user) if id_map and user is not None else None,
    )


async def _try(
    place: Path,
    launching: Launching,
    sandbox: Bubblewrap,
    *,
    writable: bool,
    id_map: bool,
    user: tuple[int, int] | None,
) -> str:
    program = Program(argv=(PROGRAM,), user=_USER, group=_USER, folder="/", environment={})
    arguments = sandbox.arguments(program, host="trial", bound=False)
    order = _order(place, sandbox, writable=writable, user=user, id_map=id_map)
    try:
        return await trial(launching, order, arguments=arguments, call_filter=sandbox.filter)
    except StartFailed as exc:
        return exc.detail or exc.message
