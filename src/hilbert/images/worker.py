"""The process that pulls or loads: `python -m hilbert.images.worker`. See `jobs` for what it reads and writes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from hilbert.core.errors import HilbertError
from hilbert.images import keep
from hilbert.images.archive import Held, opened
from hilbert.images.depot import Depot
from hilbert.images.fetch import Fetched, Fetcher
from hilbert.images.jobs import Brought, Event, Job
from hilbert.images.model import Step
from hilbert.images.records import Layout, Origin
from hilbert.images.reference import Reference
from hilbert.images.source import Failed
from hilbert.images.tree import shown
from hilbert.kit.process import end_with_parent
from hilbert.kit.staging import locked, stage, sweep

_MEMORY: Final = 2 << 30
"""Bytes of address space."""
_OLD: Final = 3600.0
"""Seconds after which what nobody names is removed when something new has come."""


async def work(job: Job) -> Sequence[Brought]:
    """Do the job. Raises `Failed`, and `OSError`."""
    layout = Layout(Path(job.store))
    layout.prepare()
    sweep(layout.tmp)
    with locked(layout.lock, fcntl.LOCK_SH):
        return await (_pull(job, layout) if job.places else _load(job, layout))


async def _pull(job: Job, layout: Layout) -> Sequence[Brought]:
    from hilbert.images.registry import RegistrySource
    from hilbert.images.web import Web

    reference = Reference.parse(job.image)
    web = Web(ca_file=job.ca_file)
    try:
        source = RegistrySource(reference, job.places, web)
        fetcher = Fetcher(Depot(layout), source, most=job.most, tell=_tell)
        fetched = await fetcher.bring(reference.digest or reference.tag)
    finally:
        await web.close()
    return [_name(job, layout, reference, fetched, Origin.GRANTED if fetched.here else Origin.PULLED)]


async def _load(job: Job, layout: Layout) -> Sequence[Brought]:
    brought = []
    with stage(layout.tmp) as room, opened(Path(job.file), room) as source:
        given = [job.image] if job.image else []
        if given and len(source.images) != 1:
            raise Failed("reading the file", f"it holds {len(source.images)} images, so one name is not enough")
        if not source.images:
            raise Failed("reading the file", "it holds no images")
        for held in source.images:
            references = _references(given, held)
            fetched = await Fetcher(Depot(layout), source, most=job.most, tell=_tell).bring(held.reference)
            brought += [_name(job, layout, reference, fetched, job.origin) for reference in references]
    return brought


def _references(given: Sequence[str], held: Held) -> Sequence[Reference]:
    """The names for an image of a file. Raises `Failed`."""
    found = []
    for name in given or held.names:
        try:
            found.append(Reference.parse(name))
        except HilbertError as exc:
            raise Failed(
                "reading the file", f"it names an image {shown(name)}: {exc.message}", hint="give it one with --name"
            ) from exc
    if not found:
        raise Failed("reading the file", "it gives an image no name", hint="give it one with --name")
    return found


def _name(job: Job, layout: Layout, reference: Reference, fetched: Fetched, origin: Origin) -> Brought:
    if job.namespace:
        try:
            keep.make_room(layout, job.namespace, fetched.record, most=job.namespace_most)
        except Failed:
            _unwanted.append(fetched.record.digest)
            raise
    keep.give_name(layout, reference, job.namespace, fetched.record.digest, origin, also=(fetched.asked,))
    return Brought(reference.full, fetched.record.digest)


_unwanted: list[str] = []
"""Digests of images that came, and may not stay."""


def main() -> None:
    end_with_parent()
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    _limit(job)
    try:
        event = Event(done=tuple(asyncio.run(work(job))))
    except Failed as exc:
        event = Event(failed=(exc.step, exc.reason, exc.hint, exc.kind))
    except HilbertError as exc:
        event = Event(failed=("reading the job", exc.message, exc.hint, "other"))
    except MemoryError:
        event = Event(failed=("unpacking", f"it takes more than {_MEMORY >> 30} GiB of memory", "", "other"))
    except OSError as exc:
        event = Event(failed=_storage(exc, job))
    layout = Layout(Path(job.store))
    with contextlib.suppress(OSError):
        for digest in _unwanted:
            keep.prune(layout, older_than=0.0, wait=False, only=digest)
        if event.done is not None:
            keep.prune(layout, older_than=_OLD, wait=False)
    _write(event)
    os._exit(0)  # Without waiting for threads that a failure has left behind.


def _tell(step: Step) -> None:
    _write(Event(step=step))


def _write(event: Event) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
    sys.stdout.buffer.flush()


def _limit(job: Job) -> None:
    """What a stranger's image may make of this process is bounded."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A file may hold several images.
    largest = (1 if job.places else 8) * job.most + (1 << 26)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = largest if hard == resource.RLIM_INFINITY else min(largest, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))


def _storage(exc: OSError, job: Job) -> tuple[str, str, str, Literal["other"]]:
    step = "storing the image"
    match exc.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return step, "the disk is full", "free some space, e.g. with 'hilbert images prune', and try again", "other"
        case errno.EFBIG:
            return step, "it is larger than images.max_size allows", "", "other"
        case errno.ENAMETOOLONG:
            return step, "it holds a name that is too long for a file", "", "other"
    return step, f"{exc.strerror or exc} ({job.store})", "", "other"


if __name__ == "__main__":
    main()
