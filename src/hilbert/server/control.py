"""The control process: `python -m hilbert.server.control FD`, started by the supervisor with its configuration at FD.

Puts the parts together and runs them: provider, routing, feed, activation, REST API, metrics.

- `SIGTERM`: stop, and stop the replicas.
- `SIGHUP`: stop, and leave the replicas running for the next control process (a rolling restart).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import structlog
import uvicorn
import uvloop

import hilbert
from hilbert.api.app import create_app, server_config
from hilbert.api.metrics import create_metrics_app
from hilbert.api.services import Services
from hilbert.client.running import first_steps
from hilbert.control.activation import Activation
from hilbert.control.call_counts import counted
from hilbert.control.delivery.intake import FullQueue
from hilbert.control.key_restarts import pay_what_is_owed
from hilbert.control.limits.keeper import Limits
from hilbert.control.limits.starts import Starts
from hilbert.control.routing import Routing
from hilbert.control.scaling.prometheus import Prometheus
from hilbert.control.scaling.scaler import Scaler
from hilbert.control.usage import Ledger
from hilbert.core.errors import HilbertError
from hilbert.core.limits import TenantLimits
from hilbert.core.model import EndpointSet
from hilbert.core.ports import (
    CpuTimes,
    Namespaces,
    Noticing,
    Provider,
    Restarts,
    Retiring,
    SharedCounts,
    SharedShelves,
    SharedUsage,
)
from hilbert.core.values import FunctionRef
from hilbert.dataplane.feed.messages import CallKeys
from hilbert.dataplane.feed.publisher import Feed
from hilbert.dataplane.feed.totals import Totals
from hilbert.dataplane.guard import Guard
from hilbert.iam.basic import PasswordFolder, load_or_create_credentials
from hilbert.kit import log
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.files import write_file
from hilbert.kit.lifeline import Lifeline
from hilbert.kit.process import take_descriptors
from hilbert.server import child
from hilbert.server.auditing import running_audit, told_of_refused_calls
from hilbert.server.call_keys import KeyTeller
from hilbert.server.compose import leader_of, running_provider, running_queue
from hilbert.server.config import ControlConfig
from hilbert.server.exits import START_FAILED
from hilbert.server.front import METRICS, api_connections, bounded
from hilbert.server.queueing import Queueing
from hilbert.server.shared_usage import SharedLedger
from hilbert.server.sign_in import running_sign_in
from hilbert.server.tally import Tally
from hilbert.server.usage import UsageFile
from hilbert.server.usage_events import telling_usage

_log = structlog.get_logger("hilbert.control")


class Control:
    """One control process's life."""

    def __init__(self, config: ControlConfig, lifeline: Lifeline) -> None:
        self._config = config
        self._lifeline = lifeline
        self._stop = asyncio.Event()
        self._leave_replicas = False

    async def run(self) -> None:
        """Run until a signal says stop. Raises `HilbertError` when it cannot start."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hand_over)
        config = self._config
        settings = config.settings
        credentials = self._credentials()
        totals = Totals()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(cancel, spawn(self._lifeline.keep_beating(), name="heartbeat"))
            provider = await stack.enter_async_context(
                running_provider(settings, stop_replicas=lambda: not self._leave_replicas, lifeline=self._lifeline)
            )
            starts = Starts()
            activation = Activation(provider, starts=starts)
            activation.start()
            stack.push_async_callback(activation.stop)
            ledger = Ledger(totals.functions, default_memory=int(settings.default_limits.memory.units))
            cpu = provider if isinstance(provider, CpuTimes) else None
            usage = None
            if settings.provider.name == "host":
                usage = UsageFile(ledger, Path(settings.paths.state_dir) / "usage", cpu)
                usage.load()
            tally = Tally(totals, Path(settings.paths.state_dir) / "counters", usage)
            tally.load()
            stack.callback(tally.save)
            if usage is not None:
                stack.push_async_callback(usage.measure)
            shared = None
            if isinstance(provider, SharedUsage):
                shared = SharedLedger(ledger, provider, cpu=cpu, keep_counters=tally.save)
                stack.push_async_callback(shared.save)
                stack.push_async_callback(cancel, spawn(shared.keep(), name="usage"))
            feed = Feed(totals, activation.wake)
            auditing = await stack.enter_async_context(running_audit(settings))
            stack.push_async_callback(
                cancel, spawn(told_of_refused_calls(feed, auditing.auditor), name="refused calls")
            )
            await stack.enter_async_context(telling_usage(settings, feed, ledger))
            await feed.start(socket.socket(fileno=config.feed_fd))
            stack.push_async_callback(feed.close)
            limits = Limits(feed)
            limits.start()
            stack.push_async_callback(limits.stop)
            sign_in = await stack.enter_async_context(running_sign_in(settings, provider, url=config.url))
            tokens = sign_in.tokens
            if tokens is not None and isinstance(provider, Namespaces) and not isinstance(provider, SharedShelves):
                await tokens.keep_only([namespace.name for namespace in await provider.list_namespaces()])
            if usage is not None and isinstance(provider, Namespaces):
                usage.retire_others([namespace.name for namespace in await provider.list_namespaces()])
            queue = await stack.enter_async_context(running_queue(settings))
            queueing = (
                Queueing(
                    queue,
                    provider,
                    settings.queue,
                    leader=leader_of(provider),
                    url=config.url,
                    secret=config.delivery_secret,
                )
                if queue is not None
                else None
            )
            routing = Routing(
                provider, feed, settings.gateway, fires=queueing is not None and queueing.firing is not None
            )
            activation.on_refused = routing.refuse
            scaler = self._scaler(provider, totals, queue)
            routing.on_change.append(scaler.seen)
            routing.on_change.append(functools.partial(_bound_starts, starts))
            if usage is not None:
                routing.on_change.append(usage.seen)
            if shared is not None:
                routing.on_change.append(shared.seen)
            guard = Guard()

            def told(keys: CallKeys) -> None:
                guard.learn(keys)
                feed.tell_keys(keys)

            teller = KeyTeller(tokens, sign_in.federation, told)
            routing.on_change.append(teller.seen)
            teller.look()
            stack.push_async_callback(cancel, spawn(teller.keep(), name="call keys"))
            routing.start()
            stack.push_async_callback(routing.stop)
            services = Services(
                provider=provider,
                settings=settings,
                credentials=credentials,
                token_store=tokens,
                access_registry=sign_in.access,
                access_objects=sign_in.objects,
                sign_on=sign_in.federation,
                guard=guard,
                ledger=ledger if usage is not None or shared is not None else None,
                shared_usage=shared.read if shared is not None else None,
                auditor=auditing.auditor,
                audit_source=auditing.source,
                totals=totals,
                activation=activation,
                scaler=scaler,
                limits=limits,
                starts=starts,
                intake=queueing.intake if queueing is not None else None,
                dispatcher=queueing.dispatcher if queueing is not None else None,
                firing=queueing.firing if queueing is not None else None,
                is_ready=lambda: routing.is_synced,
            )
            if sign_in.federation is not None and isinstance(provider, Restarts):
                paying = pay_what_is_owed(
                    sign_in.federation.ring, provider, provider, leader_of(provider), services.tenancy.list_names
                )
                stack.push_async_callback(cancel, spawn(paying, name="owed restarts"))
            await stack.enter_async_context(
                _serving(
                    server_config(create_app(services), protocol=bounded(api_connections(take_descriptors()))),
                    socket.socket(fileno=config.control_fd),
                )
            )
            await stack.enter_async_context(
                _serving(
                    server_config(create_metrics_app(services), protocol=bounded(METRICS)),
                    socket.socket(fileno=config.metrics_fd),
                )
            )
            await routing.wait_synced()
            if isinstance(provider, Retiring):
                provider.tell_busy(lambda ref: totals.busy((ref.namespace, ref.name)))
            if isinstance(provider, SharedCounts):
                provider.share_counts(lambda: {ref: counted(one) for ref, one in totals.functions().items()})
            scaler.start()
            stack.push_async_callback(scaler.stop)
            if queueing is not None:
                await stack.enter_async_context(queueing.delivering())
            stack.push_async_callback(cancel, spawn(tally.keep(), name="tally"))
            self._announce()
            self._lifeline.ready()
            _log.info("gateway ready", url=config.url, metrics=config.metrics_url, provider=provider.name)
            if sys.stderr.isatty():
                sys.stderr.write("\n".join(["", *first_steps(config.url, Path(settings.paths.state_dir)), "", ""]))
            await self._stop.wait()
            _log.info("stopping", replicas="left running" if self._leave_replicas else "stopped too")

    def _hand_over(self) -> None:
        self._leave_replicas = True
        self._stop.set()

    def _credentials(self) -> PasswordFolder | None:
        settings = self._config.settings
        if not settings.gateway.basic_auth:
            return None
        if settings.gateway.secret_mount_path:
            return PasswordFolder(Path(settings.gateway.secret_mount_path))
        folder = Path(settings.paths.state_dir) / "auth"
        load_or_create_credentials(folder)
        return PasswordFolder(folder)

    def _scaler(self, provider: Provider, totals: Totals, queue: FullQueue | None) -> Scaler:
        settings = self._config.settings.scaling
        return Scaler(
            provider,
            totals,
            settings,
            leader=leader_of(provider),
            shared=provider if isinstance(provider, SharedCounts) else None,
            queued=functools.partial(_due, queue) if queue is not None else None,
            notices=provider if isinstance(provider, Noticing) else None,
            query=Prometheus(settings.prometheus_url).load if settings.prometheus_url else None,
        )

    def _announce(self) -> None:
        """Write `gateway.json`, by which the command line finds this gateway."""
        config = self._config
        path = Path(config.settings.paths.state_dir) / "gateway.json"
        text = msgspec.json.encode(
            {
                "url": config.url,
                "metrics_url": config.metrics_url,
                "pid": config.supervisor_pid,
                "run_dir": config.settings.paths.run_dir,
                "version": hilbert.__version__,
                "started_at": config.started_at,
            }
        )
        write_file(path, text)


def _bound_starts(starts: Starts, change: EndpointSet) -> None:
    if change.spec is not None:
        starts.limit(change.ref.namespace, TenantLimits.usable(change.namespace_annotations).starts)
    starts.seen(change)


async def _due(queue: FullQueue) -> Mapping[FunctionRef, float]:
    """Queued calls by function, where one is due."""
    now = time.time()
    return {count.ref: count.queued for count in await queue.counts(open_only=True) if 0 < count.next_due <= now}


@contextlib.asynccontextmanager
async def _serving(config: uvicorn.Config, sock: socket.socket) -> AsyncIterator[None]:
    """Serve an application on a listening socket while the block runs."""
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    # `serve` would take the process's signals for itself; what it calls inside does not.
    task = spawn(server._serve(sockets=[sock]), name="http server")  # noqa: SLF001
    try:
        yield
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            async with asyncio.timeout(5):
                await task


def main(argv: list[str]) -> int:
    config = msgspec.json.decode(child.read_config(argv), type=ControlConfig)
    log.configure(level=config.settings.log.level, form=config.settings.log.form)

    lifeline = Lifeline(config.lifeline_fd)
    take_descriptors()

    async def control() -> None:
        await Control(config, lifeline).run()

    try:
        uvloop.run(control())
    except HilbertError as exc:
        _log.error("cannot start", reason=exc.message, detail=exc.detail, hint=exc.hint)
        return START_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
