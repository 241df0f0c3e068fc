"""What the REST API stands on, put together by the composition root."""

from __future__ import annotations

import functools
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import hilbert
from hilbert.api.log_streams import LogStreams
from hilbert.api.traffic import Traffic
from hilbert.audit.auditor import Auditor
from hilbert.audit.ports import Source
from hilbert.control.activation import Activation
from hilbert.control.call_counts import CallTotals, NoCalls, finished
from hilbert.control.delivery.dispatcher import Dispatcher
from hilbert.control.delivery.intake import Intake
from hilbert.control.limits.keeper import Limits
from hilbert.control.limits.starts import Starts
from hilbert.control.limits.writes import Writes
from hilbert.control.scaling.alerts import Steps
from hilbert.control.scaling.scaler import Scaler
from hilbert.control.schedules.firing import Firing
from hilbert.control.tenancy import Tenancy
from hilbert.control.usage import Days, Ledger
from hilbert.core.errors import Unsupported
from hilbert.core.model import FunctionSpec
from hilbert.core.ports import Logs, Namespaces, Provider, Restarts, Secrets, SharedCounts, capability, spec_of
from hilbert.core.settings import Settings
from hilbert.core.values import RESERVED_NAMESPACES, FunctionRef
from hilbert.dataplane.guard import Guard
from hilbert.iam.access import Access
from hilbert.iam.access_store import AccessStore
from hilbert.iam.basic import Password
from hilbert.iam.federation import Federation
from hilbert.iam.guesses import WrongGuesses
from hilbert.iam.token_store import TokenStore
from hilbert.kit.turns import Turns

TURNS: Final = 8
"""Requests of tenants to the REST API that are handled at once."""
TENANT_TURNS: Final = 2
"""Of those, one tenant's: what is done at once for one, the next one's request may have to wait for."""
PLATFORM_TURNS: Final = 16
"""The same of those who govern the platform."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """One set for the life of a control process. `tenancy` is made from the rest."""

    provider: Provider
    settings: Settings
    credentials: Password | None = None
    """None: the gateway asks for no password."""
    token_store: TokenStore | None = None
    """None: this installation keeps no tokens."""
    access_registry: Access | None = None
    """Issuers, policies and roles; None: this installation has none."""
    access_objects: AccessStore | None = None
    """Where they can be changed through the API; None: they come from elsewhere."""
    sign_on: Federation | None = None
    """Tokens of identity providers; None: this installation cannot check them."""
    exchange_failures: WrongGuesses = field(default_factory=WrongGuesses)
    totals: CallTotals = field(default_factory=NoCalls)
    activation: Activation | None = None
    """For the count of wake-ups in the metrics."""
    scaler: Scaler | None = None
    """None: nothing scales by load here."""
    alert_steps: Steps = field(default_factory=Steps)
    """What AlertManager's alerts had scaled."""
    limits: Limits | None = None
    """How limits on calls are used; None: nobody enforces any here."""
    starts: Starts = field(default_factory=Starts)
    writes: Writes = field(default_factory=Writes)
    turns: Turns[str] = field(default_factory=lambda: Turns(TURNS, each=TENANT_TURNS))
    """Requests of tenants that are handled at once. Tenants take turns."""
    platform_turns: Turns[str] = field(default_factory=lambda: Turns(PLATFORM_TURNS))
    """The same for whoever governs the platform, whose requests never wait for those of tenants."""
    intake: Intake | None = None
    """Where calls are queued; None: this installation has no queue, nor the two that follow."""
    dispatcher: Dispatcher | None = None
    """What has come of queued calls."""
    firing: Firing | None = None
    """Schedules; None: they are left to a cron-connector."""
    auditor: Auditor | None = None
    """None: nothing is written down, in tests of other things."""
    audit_source: Source | None = None
    """What was written down; None: it goes elsewhere, and cannot be read here."""
    guard: Guard = field(default_factory=Guard)
    """Who may queue calls of functions that ask for it."""
    ledger: Ledger | None = None
    shared_usage: Callable[[], Awaitable[tuple[Days, Days]]] | None = None
    """What all gateways have counted, where there are several."""
    """What namespaces have used; None: it is not kept here."""
    traffic: Traffic = field(default_factory=Traffic)
    """What the REST API counts of itself."""
    log_streams: LogStreams = field(default_factory=LogStreams)
    is_ready: Callable[[], bool] = lambda: True
    """Whether calls can be routed."""
    release: str = hilbert.__version__
    commit: str = "unknown"
    """Of the source that this was built from."""

    def invocations(self, ref: FunctionRef) -> int:
        """Finished calls of a function, whatever their status, by all gateways."""
        found = self.totals.functions().get(ref)
        shared = self._shared_counts
        elsewhere = shared.counted_elsewhere(ref).finished if shared is not None else 0
        return elsewhere + (finished(found) if found else 0)

    @functools.cached_property
    def _shared_counts(self) -> SharedCounts | None:
        """Looked up once: to compare with a protocol takes longer than all else that a list does for a function."""
        return self.provider if isinstance(self.provider, SharedCounts) else None

    @property
    def tokens(self) -> TokenStore:
        """Raises `Unsupported`."""
        if self.token_store is None:
            raise Unsupported("this gateway has no tokens of its own", hint="use its password")
        return self.token_store

    @property
    def access(self) -> Access:
        """Raises `Unsupported`, as do the next two."""
        if self.access_registry is None:
            raise Unsupported(f"the {self.provider.name} provider has no issuers, policies and roles")
        return self.access_registry

    @property
    def access_store(self) -> AccessStore:
        if self.access_objects is None:
            self.access  # noqa: B018 - raises where there is none at all
            raise Unsupported(
                "issuers, policies and roles are custom resources here",
                hint="apply them with kubectl, in the platform's namespace",
            )
        return self.access_objects

    @property
    def federation(self) -> Federation:
        if self.sign_on is None:
            self.access  # noqa: B018 - raises where there is none at all
            raise Unsupported(
                "single sign-on needs PyJWT and cryptography, which are not installed",
                hint="install Hilbert with its extra sso, and restart the gateway",
            )
        return self.sign_on

    @property
    def audit(self) -> Source:
        """Raises `Unsupported`."""
        if self.audit_source is None:
            raise Unsupported(
                "this gateway keeps no audit log of its own",
                hint="it writes each record to its standard error, as a line of JSON with the event audit",
            )
        return self.audit_source

    async def read_usage(self) -> tuple[Days, Days]:
        """Of namespaces that are there, and of former ones. Raises `Unsupported` and `BackendError`."""
        if self.shared_usage is not None:
            return await self.shared_usage()
        if self.ledger is None:
            raise Unsupported("this gateway does not add up what namespaces use")
        return self.ledger.days(), self.ledger.former()

    @property
    def hosts(self) -> frozenset[str]:
        """Names under which a gateway without a password answers, besides those that nobody else can have."""
        gateway = self.settings.gateway
        named = {text.strip().lower() for text in gateway.hosts.split(",") if text.strip()}
        return frozenset(
            {*named, gateway.host, socket.gethostname(), f".{self.settings.kubernetes.platform_namespace}"}
        )

    @property
    def namespaces(self) -> Namespaces:
        """Raises `Unsupported`, as do the other two."""
        return capability(self.provider, Namespaces)  # type: ignore[type-abstract]  # a Protocol is what is asked for

    @property
    def secrets(self) -> Secrets:
        return capability(self.provider, Secrets)  # type: ignore[type-abstract]  # a Protocol is what is asked for

    @property
    def restarts(self) -> Restarts:
        """Raises `Unsupported`."""
        return capability(self.provider, Restarts)  # type: ignore[type-abstract]  # a Protocol is what is asked for

    @property
    def logs(self) -> Logs:
        return capability(self.provider, Logs)  # type: ignore[type-abstract]  # a Protocol is what is asked for

    @functools.cached_property
    def spec_of(self) -> Callable[[FunctionRef], Awaitable[FunctionSpec]]:
        """Asks for what a function is to be. Raises as `Provider.get`."""
        return spec_of(self.provider)

    @functools.cached_property
    def tenancy(self) -> Tenancy:
        settings = self.settings
        return Tenancy(
            self.provider,
            default=settings.default_namespace,
            reserved=RESERVED_NAMESPACES | {settings.kubernetes.platform_namespace},
        )
