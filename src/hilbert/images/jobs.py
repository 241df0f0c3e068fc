"""Work that a process of its own does: pulling and loading. It reads what strangers made, and may be ended at any time.

The process gets its job as one JSON document on its standard input, and writes a JSON line for each step and for the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from hilbert.core.environment import inherited_environment
from hilbert.images.model import Progress, Step
from hilbert.images.records import Origin
from hilbert.images.registry_places import Place
from hilbert.images.source import Failed, Kind

LONGEST: Final = 3600.0
"""Seconds for one job."""
_QUIET: Final = 300.0
"""Seconds without a sign of life, after which the process is ended."""
_LONGEST_LINE: Final = 1 << 20


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """An image, or several, to be brought into a store."""

    store: str
    namespace: str
    """For which; empty: for all."""
    most: int
    """Bytes of an unpacked image."""
    namespace_most: int
    """Bytes of all images of the namespace."""
    image: str = ""
    """A name to pull, or the one to give to the only image of a file; empty: as the file says."""
    places: tuple[Place, ...] = ()
    """Where to ask; none: the image is in a file."""
    ca_file: str = ""
    file: str = ""
    origin: Origin = Origin.LOADED
    """Of what is in a file."""


class Brought(msgspec.Struct, frozen=True):
    """A name, and the image that it means now."""

    name: str
    digest: str


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the process."""

    step: Step | None = None
    done: tuple[Brought, ...] | None = None
    failed: tuple[str, str, str, Kind] | None = None
    """Step, reason, hint, kind."""


async def run(job: Job, progress: Progress | None) -> Sequence[Brought]:
    """Do the job in a process of its own, which ends with this call. Raises `Failed`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-X", "utf8", "-m", "hilbert.images.worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Modules are found where this process finds them, also where they were not installed.
        env={**inherited_environment(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        limit=_LONGEST_LINE,
    )
    try:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("both are pipes")
        process.stdin.write(msgspec.json.encode(job))
        process.stdin.close()
        end = asyncio.get_running_loop().time() + LONGEST
        while True:
            try:
                async with asyncio.timeout_at(min(end, asyncio.get_running_loop().time() + _QUIET)):
                    line = await process.stdout.readline()
            except TimeoutError as exc:
                why = f"nothing happened for {_QUIET:.0f} s, or it took more than {LONGEST:.0f} s"
                raise Failed("fetching the image", why, hint="try again: finished downloads are kept") from exc
            if not line:
                raise Failed(
                    "fetching the image",
                    "its process ended unexpectedly, perhaps because it ran out of memory",
                    hint="look at the gateway's log, and try again",
                )
            event = msgspec.json.decode(line, type=Event)
            if event.step is None:
                break
            if progress is not None:
                progress(event.step)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    finally:
        await process.wait()
    if event.failed is not None:
        step, reason, hint, kind = event.failed
        raise Failed(step, reason, hint=hint, kind=kind)
    return event.done or ()
