"""The images of this machine: found by name and namespace, fetched when they are missing, kept while they are used.

An image that is here is used by another namespace only if that one could have pulled it itself: the registry is asked with that
namespace's own logins, and its yes counts for a while. What an administrator shares, everyone may use.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from hilbert.core.errors import ImageUnavailable, Invalid, InvalidSettings, StorageFull
from hilbert.core.settings import ImageSettings
from hilbert.images import jobs, keep
from hilbert.images.export import export
from hilbert.images.jobs import Brought, Job
from hilbert.images.keep import Freed, Stored
from hilbert.images.login import parse_docker_config
from hilbert.images.model import Credentials, LocalImage, Progress, PullPolicy, Step
from hilbert.images.records import ImageRecord, Layout, NameRecord, Origin
from hilbert.images.reference import Reference, familiar
from hilbert.images.registry_places import Place, Registries
from hilbert.images.source import Failed
from hilbert.kit.aio import SingleFlight
from hilbert.kit.staging import locked

JOBS: Final = 12
"""Fetches at once."""
NAMESPACE_JOBS: Final = 2
"""Of one namespace."""


class OciStore:
    """A store of container images. Any number of processes may use one at once."""

    def __init__(
        self,
        path: Path,
        settings: ImageSettings | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`path` is made when something is first stored. Raises `InvalidSettings`."""
        self.layout = Layout(path)
        self._settings = settings or ImageSettings()
        self._registries = Registries(self._settings, _installation(self._settings.credentials))
        self._access = timedelta(seconds=self._settings.access_time.seconds)
        self._now = now
        self._flights: SingleFlight[tuple[str, str], Sequence[Brought]] = SingleFlight()
        self._told: dict[tuple[str, str], list[Progress]] = {}
        self._slots = asyncio.Semaphore(JOBS)
        self._namespace_slots: dict[str, asyncio.Semaphore] = {}
        self._namespace_jobs: Counter[str] = Counter()
        """Fetches that run or wait."""
        self._running: set[asyncio.Task[Sequence[Brought]]] = set()

    @property
    def policy(self) -> PullPolicy:
        """When a registry is asked, by the settings."""
        return PullPolicy(self._settings.pull_policy)

    def revision(self, image: str, namespace: str) -> str:
        """Changes when deploying the same name again would run something else, or has to ask the registry whether it would.

        Empty: the image is not here. Raises `InvalidSpec`.
        """
        reference = Reference.parse(image)
        named = self._named(reference, namespace)
        if named is None:
            return ""
        asks = self._asks(self.policy, reference, named[0])
        return f"{named[1].digest} {self._now().isoformat()}" if asks else named[1].digest

    def find(self, image: str, namespace: str) -> LocalImage | None:
        """The image if it is here and this namespace may use it. Reads two small files.

        Raises `InvalidSpec` for what is no image's name.
        """
        found = self._named(Reference.parse(image), namespace)
        if found is None or not self._is_fresh(found[0]):
            return None
        with contextlib.suppress(OSError):  # It is gone again. The time says which was not used for long.
            os.utime(self.layout.name(found[0].name, found[0].namespace))
        return self._local(image, found[1])

    def has_any(self) -> bool:
        """Whether there is an image here, whoever may use it. Blocks for a moment."""
        try:
            with os.scandir(self.layout.path / "images") as found:
                return any(found)
        except FileNotFoundError:
            return False

    async def ensure(
        self,
        image: str,
        namespace: str,
        *,
        policy: PullPolicy | None = None,
        credentials: Credentials | None = None,
        progress: Progress | None = None,
    ) -> LocalImage:
        """The image, fetched if `policy` says so, by default the setting's. Calls for one image and namespace share one fetch.

        Raises `InvalidSpec`, and `ImageUnavailable` with the step that failed and what to do.
        """
        policy = policy or self.policy
        reference = Reference.parse(image)
        named = self._named(reference, namespace)
        if policy is PullPolicy.NEVER and (named is None or not self._is_fresh(named[0])):
            raise ImageUnavailable(
                f"image {image} is not on this machine for namespace {namespace}, and the pull policy is Never",
                hint=f"bring it with 'hilbert images pull' or 'hilbert images load --namespace {namespace}'",
            )
        if named is not None and not self._asks(policy, reference, named[0]):
            return self._local(image, named[1])
        try:
            await self._pull(reference, namespace, credentials, progress)
        except Failed as exc:
            if named is not None and exc.kind == "denied" and named[0].origin is Origin.GRANTED:
                keep.remove_name(self.layout, reference, named[0].namespace)
            elif named is not None and exc.kind == "unreachable" and policy is not PullPolicy.ALWAYS:
                return self._local(image, named[1])  # Nobody has said no.
            raise _unavailable(f"image {image} cannot be fetched", exc) from exc
        return self._fetched(image, reference, namespace)

    async def pull(
        self,
        image: str,
        namespace: str,
        *,
        credentials: Credentials | None = None,
        progress: Progress | None = None,
    ) -> LocalImage:
        """What the registry has under this name now, for a namespace, or for all if it is empty. Raises as `ensure`."""
        reference = Reference.parse(image)
        try:
            await self._pull(reference, namespace, credentials, progress)
        except Failed as exc:
            raise _unavailable(f"image {image} cannot be fetched", exc) from exc
        return self._fetched(image, reference, namespace)

    async def load(
        self,
        file: Path,
        namespace: str,
        *,
        name: str = "",
        origin: Origin = Origin.LOADED,
        progress: Progress | None = None,
    ) -> Sequence[Brought]:
        """The images of a file or folder, for a namespace, or for all if it is empty. `name` is for a file with one image.

        Raises `InvalidSpec` and `ImageUnavailable`.
        """
        if name:
            Reference.parse(name)
        job = self._job(namespace, image=name, file=file, origin=origin)
        try:
            return await self._run(job, namespace, progress)
        except Failed as exc:
            raise _unavailable(f"{file} cannot be loaded", exc) from exc

    def export(self, image: str, namespace: str, file: Path) -> None:
        """Write an image to a tar file that `hilbert images load`, docker, podman and skopeo read. Blocks.

        Raises `InvalidSpec`, `ImageUnavailable` and `StorageFull`.
        """
        reference = Reference.parse(image)
        found = self._named(reference, namespace)
        if found is None:
            raise ImageUnavailable(f"image {image} is not on this machine", hint="see 'hilbert images list'")
        try:
            with self._locked(fcntl.LOCK_SH):
                export(self.layout, found[1], reference, file)
        except OSError as exc:
            raise StorageFull(f"cannot write {file}: {exc.strerror}") from exc

    def list(self) -> Sequence[Stored]:
        """Every name with its image."""
        return keep.listed(self.layout)

    def remove(self, image: str) -> str:
        """Take a name away in every namespace; the name with its tag. `prune` then frees what it needed.

        Raises `InvalidSpec`, `ImageUnavailable` where there is none, and `StorageFull`.
        """
        reference = Reference.parse(image)
        try:
            if not keep.remove_name(self.layout, reference, None):
                raise ImageUnavailable(f"image {image} is not on this machine", hint="see 'hilbert images list'")
        except OSError as exc:
            raise StorageFull(f"cannot remove {image}: {exc.strerror}") from exc
        return familiar(reference.full)

    def forget(self, namespace: str) -> None:
        """Take away all names of a namespace that is deleted: a namesake made later finds none. Raises `OSError`."""
        keep.forget(self.layout, namespace)

    def prune(self, *, older_than: float) -> Freed:
        """Remove images that no name and no replica needs and that are older than so many seconds. Blocks.

        Waits for fetches under way. Raises `StorageFull`.
        """
        try:
            return keep.prune(self.layout, older_than=older_than)
        except OSError as exc:
            raise StorageFull(f"cannot prune the images: {exc.strerror}") from exc

    def pin(self, digest: str, replica: str) -> None:
        """Keep `prune` from removing the image while this replica uses it. Does nothing twice.

        Raises `ImageUnavailable` when it was removed since it was found, and `StorageFull`.
        """
        try:
            with self._locked(fcntl.LOCK_SH):
                if not self.layout.image(digest).exists():
                    raise ImageUnavailable(
                        f"the image {digest} was removed", hint="start it again: it will be fetched again"
                    )
                folder = self.layout.pins(digest)
                folder.mkdir(mode=0o700, exist_ok=True)
                (folder / replica).touch(mode=0o600)
        except OSError as exc:
            raise StorageFull(f"cannot record that an image is used: {exc.strerror}") from exc

    def unpin(self, digest: str, replica: str) -> None:
        """The replica is gone. Absence is success. Raises `OSError`."""
        folder = self.layout.pins(digest)
        (folder / replica).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # Others are in it, or it is gone.
            folder.rmdir()

    def pins(self) -> Iterator[tuple[str, str]]:
        """Digests of images in use, each with a replica that uses it."""
        return keep.pinned(self.layout)

    async def close(self) -> None:
        """End the fetches under way; what they have is continued by the next."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _named(self, reference: Reference, namespace: str) -> tuple[NameRecord, ImageRecord] | None:
        for whose in dict.fromkeys((namespace, "")):
            record = keep.read(self.layout.name(reference.full, whose), NameRecord)
            image = None if record is None else keep.read(self.layout.image(record.digest), ImageRecord)
            if record is not None and image is not None and self.layout.root(image.chain).is_dir():
                return record, image
        return None

    def _fetched(self, image: str, reference: Reference, namespace: str) -> LocalImage:
        named = self._named(reference, namespace)
        if named is None:
            raise ImageUnavailable(f"image {image} was removed while it was fetched", hint="try again")
        return self._local(image, named[1])

    def _is_fresh(self, record: NameRecord) -> bool:
        return record.origin is not Origin.GRANTED or self._now() - record.checked_at < self._access

    def _asks(self, policy: PullPolicy, reference: Reference, record: NameRecord) -> bool:
        """Whether the registry is asked although the image is here. Raises nothing, touches nothing."""
        if not self._is_fresh(record):
            return True
        if record.origin in (Origin.LOADED, Origin.BUILT) or reference.digest:
            return False
        return policy is PullPolicy.ALWAYS or (policy is PullPolicy.AUTO and reference.tag == "latest")

    async def _pull(
        self, reference: Reference, namespace: str, credentials: Credentials | None, progress: Progress | None
    ) -> None:
        key = (reference.full, namespace)
        told = self._told.setdefault(key, [])
        if progress is not None:
            told.append(progress)
        places = self._registries.places(reference, credentials)
        job = self._job(namespace, image=reference.full, places=places)

        def tell(step: Step) -> None:
            for one in told:
                one(step)

        try:
            await self._flights.run(key, lambda: self._run(job, namespace, tell))
        finally:
            if progress is not None:
                told.remove(progress)
            if not told:
                self._told.pop(key, None)

    async def _run(self, job: Job, namespace: str, progress: Progress | None) -> Sequence[Brought]:
        task = asyncio.current_task()
        if task is not None:
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        own = self._namespace_slots.setdefault(namespace, asyncio.Semaphore(NAMESPACE_JOBS))
        self._namespace_jobs[namespace] += 1
        try:
            async with own, self._slots:
                return await jobs.run(job, progress)
        finally:
            self._namespace_jobs[namespace] -= 1
            if not self._namespace_jobs[namespace]:
                del self._namespace_jobs[namespace], self._namespace_slots[namespace]

    def _job(
        self,
        namespace: str,
        *,
        image: str,
        places: Sequence[Place] = (),
        file: Path | None = None,
        origin: Origin = Origin.PULLED,
    ) -> Job:
        return Job(
            store=str(self.layout.path.absolute()),
            namespace=namespace,
            most=self._settings.max_size.units,
            namespace_most=self._settings.namespace_size.units,
            image=image,
            places=tuple(places),
            ca_file=self._settings.ca_file,
            file=str(file.absolute()) if file is not None else "",
            origin=origin,
        )

    def _local(self, image: str, stored: ImageRecord) -> LocalImage:
        return LocalImage(
            name=image,
            digest=stored.digest,
            size=stored.size,
            config=stored.config,
            root=self.layout.root(stored.chain),
        )

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        self.layout.prepare()
        with locked(self.layout.lock, kind):
            yield


def _installation(path: str) -> Credentials:
    if not path:
        return Credentials()
    try:
        return parse_docker_config(Path(path).read_bytes())
    except OSError as exc:
        raise InvalidSettings(f"images.credentials: cannot read {path}: {exc.strerror}") from exc
    except Invalid as exc:
        raise InvalidSettings(f"images.credentials: {path}: {exc.message}") from exc


def _unavailable(what: str, exc: Failed) -> ImageUnavailable:
    return ImageUnavailable(f"{what}; {exc.step}: {exc.reason}", hint=exc.hint)
