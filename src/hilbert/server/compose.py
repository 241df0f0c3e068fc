"""Which adapters run, by the names in the settings."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from hilbert.control.delivery.intake import FullQueue
from hilbert.control.leader import SoleLeader
from hilbert.core.errors import InvalidSettings
from hilbert.core.ports import Leader, Provider
from hilbert.core.ports.queue import QueueBounds
from hilbert.core.settings import Settings
from hilbert.kit.lifeline import Lifeline
from hilbert.server.queueing import bounds_of


@contextlib.asynccontextmanager
async def running_provider(
    settings: Settings, *, stop_replicas: Callable[[], bool], lifeline: Lifeline
) -> AsyncIterator[Provider]:
    """The provider that `provider.name` names, started. At the end `stop_replicas()` says whether they end with it.

    `lifeline` tells the supervisor what had to be ended by force then. Raises `HilbertError` when it cannot start.
    """
    match settings.provider.name:
        case "host":
            async with _host(settings, stop_replicas, lifeline) as provider:
                yield provider
        case "memory":
            async with _memory(settings) as provider:
                yield provider
        case "kubernetes":
            async with _kubernetes(settings) as provider:
                yield provider


def leader_of(provider: Provider) -> Leader:
    """Who does what only one gateway may do: where there can be several, their provider elects one."""
    elected: Leader | None = getattr(provider, "leadership", None)
    return elected or SoleLeader()


@contextlib.asynccontextmanager
async def running_queue(settings: Settings) -> AsyncIterator[FullQueue | None]:
    """The queue for calls that are made later; None where there is none yet. Raises `HilbertError`."""
    bounds = bounds_of(settings.queue)
    match settings.provider.name:
        case "host":
            from hilbert.queues.sqlite import SqliteQueue

            folder = Path(settings.paths.state_dir) / "queue"
            folder.mkdir(mode=0o700, exist_ok=True)
            queue = await SqliteQueue.open(folder, bounds)
            try:
                yield queue
            finally:
                queue.close()
        case "memory":
            from hilbert.queues.memory import MemoryQueue

            yield MemoryQueue(bounds)
        case "kubernetes" if settings.queue.nats_url:
            async with _jetstream(settings, bounds) as shared:
                yield shared
        case "kubernetes":
            yield None


@contextlib.asynccontextmanager
async def _jetstream(settings: Settings, bounds: QueueBounds) -> AsyncIterator[FullQueue]:
    try:
        from hilbert.queues.jetstream import JetStreamQueue
        from hilbert.queues.jetstream.log import Log
    except ImportError as exc:
        raise InvalidSettings(
            "queue.nats_url is set, but the NATS client is not installed",
            detail=str(exc),
            hint="install Hilbert with its extra: pip install '.[nats]' in a clone of its repository",
        ) from exc

    folder = Path(settings.paths.state_dir) / "queue"
    folder.mkdir(mode=0o700, exist_ok=True)
    # Installations beside each other may share servers.
    name = f"hilbert-{settings.kubernetes.platform_namespace}"
    connect = functools.partial(Log.connect, settings.queue.nats_url, name=name, replicas=settings.queue.nats_replicas)
    queue = await JetStreamQueue.open(connect, folder, bounds)
    try:
        yield queue
    finally:
        await queue.close()


@contextlib.asynccontextmanager
async def _host(settings: Settings, stop_replicas: Callable[[], bool], lifeline: Lifeline) -> AsyncIterator[Provider]:
    from hilbert.core.network import NetworkUse
    from hilbert.images.model import PullPolicy
    from hilbert.images.store import OciStore
    from hilbert.providers.host import HostProvider, open_database
    from hilbert.runtimes.host import HostRuntime
    from hilbert.runtimes.logs.folder import LogFolder
    from hilbert.runtimes.network.client import Network
    from hilbert.runtimes.process.images import ImageStore
    from hilbert.server import log_keeper, tenancy

    state, run = Path(settings.paths.state_dir), Path(settings.paths.run_dir)
    logs = LogFolder(
        state / log_keeper.LOGS,
        pipes=run / log_keeper.PIPES,
        limit=settings.process.log_bytes.units,
        socket_path=run / log_keeper.SOCKET,
    )
    match settings.provider.runtime:
        case "process":
            runtime = HostRuntime(
                run,
                images=ImageStore(state / "images"),
                logs=logs,
                settings=settings.process,
                default_limits=settings.default_limits,
                network=Network(run, pool=settings.process.network_pool),
                store=OciStore(state / "oci", settings.images),
                pull_policy=PullPolicy(settings.images.pull_policy),
            )
    fresh = not (state / "hilbert.db").exists()
    database = open_database(state / "hilbert.db")
    try:
        await runtime.open()
        held = runtime.machine.promises(NetworkUse())
        required = tenancy.demanded(settings.tenancy, state, fresh=fresh, held=held)
        provider = HostProvider(database, runtime, logs=logs, settings=settings.provider, required=required)
        await provider.start()
        try:
            yield provider
        finally:
            forced = await provider.close(stop_replicas=stop_replicas())
            if forced:
                lifeline.cut(
                    f"{forced} replica{'s' * (forced > 1)}, which had not ended within provider.grace ({settings.provider.grace})"
                )
            await runtime.close()
    finally:
        database.close()


@contextlib.asynccontextmanager
async def _memory(settings: Settings) -> AsyncIterator[Provider]:
    from hilbert.providers.memory import MemoryProvider

    provider = MemoryProvider(default_namespace=settings.default_namespace)
    try:
        yield provider
    finally:
        await provider.close()


@contextlib.asynccontextmanager
async def _kubernetes(settings: Settings) -> AsyncIterator[Provider]:
    from hilbert.providers.kubernetes.provider import KubernetesProvider

    provider = KubernetesProvider(settings.kubernetes, provider=settings.provider)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.close()
