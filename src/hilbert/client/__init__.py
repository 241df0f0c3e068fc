"""A typed client of the gateway's REST API and of functions, synchronous (`Client`) and asynchronous (`AsyncClient`).

What belongs here: requests, answers, and the connection between. What does not: anything about terminals or files of
the command line, which is one user of this package among others.

    from hilbert.client import Client

    with Client.local() as client:
        print([function.name for function in client.list_functions("dev")])

Everything that users need is here, the exceptions included. It loads when first used, since the command line must start
fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hilbert.client.answers import Accepted, Invocation
    from hilbert.client.async_transport import AsyncStream
    from hilbert.client.asynchronous import AsyncClient
    from hilbert.client.auth import Auth, BasicAuth, TokenAuth
    from hilbert.client.codec import BrokenAnswer
    from hilbert.client.faults import GatewayTimeout, GatewayUnreachable, UnexpectedAnswer
    from hilbert.client.redirect import RedirectRefused
    from hilbert.client.sync import Client
    from hilbert.client.tokens import FunctionToken
    from hilbert.client.transport import Stream
    from hilbert.core.errors import (
        ActivationTimeout,
        AlreadyExists,
        BackendError,
        BackendUnavailable,
        Conflict,
        Forbidden,
        FunctionNotFound,
        HilbertError,
        Invalid,
        NamespaceNotFound,
        NotFound,
        Overloaded,
        QueueFull,
        QuotaExceeded,
        RateLimited,
        SecretNotFound,
        StartFailed,
        StorageFull,
        Unauthenticated,
        Unsupported,
    )
    from hilbert.wire.function import CallTimeouts, Deployment, Function, FunctionDetail, ResourceAmounts, UsageAmounts
    from hilbert.wire.info import GatewayInfo, ProviderInfo, VersionInfo
    from hilbert.wire.log import LogMessage
    from hilbert.wire.namespace import NamespaceInfo
    from hilbert.wire.queued import BatchCall, QueuedCallStatus, QueueStatus
    from hilbert.wire.schedule import ScheduleInfo, ScheduleProblem, Schedules
    from hilbert.wire.secret import SecretInfo
    from hilbert.wire.token import Identity, NewToken, TokenInfo

__all__ = [
    "Accepted",
    "ActivationTimeout",
    "AlreadyExists",
    "AsyncClient",
    "AsyncStream",
    "Auth",
    "BackendError",
    "BackendUnavailable",
    "BasicAuth",
    "BatchCall",
    "BrokenAnswer",
    "CallTimeouts",
    "Client",
    "Conflict",
    "Deployment",
    "Forbidden",
    "Function",
    "FunctionDetail",
    "FunctionNotFound",
    "FunctionToken",
    "GatewayInfo",
    "GatewayTimeout",
    "GatewayUnreachable",
    "HilbertError",
    "Identity",
    "Invalid",
    "Invocation",
    "LogMessage",
    "NamespaceInfo",
    "NamespaceNotFound",
    "NewToken",
    "NotFound",
    "Overloaded",
    "ProviderInfo",
    "QueueFull",
    "QueueStatus",
    "QueuedCallStatus",
    "QuotaExceeded",
    "RateLimited",
    "RedirectRefused",
    "ResourceAmounts",
    "ScheduleInfo",
    "ScheduleProblem",
    "Schedules",
    "SecretInfo",
    "SecretNotFound",
    "StartFailed",
    "StorageFull",
    "Stream",
    "TokenAuth",
    "TokenInfo",
    "Unauthenticated",
    "UnexpectedAnswer",
    "Unsupported",
    "UsageAmounts",
    "VersionInfo",
]

_HOMES = {
    "Schedules": "hilbert.wire.schedule",
    "ScheduleProblem": "hilbert.wire.schedule",
    "ScheduleInfo": "hilbert.wire.schedule",
    "QueueStatus": "hilbert.wire.queued",
    "QueuedCallStatus": "hilbert.wire.queued",
    "BatchCall": "hilbert.wire.queued",
    "TokenInfo": "hilbert.wire.token",
    "NewToken": "hilbert.wire.token",
    "Identity": "hilbert.wire.token",
    "Accepted": "hilbert.client.answers",
    "Invocation": "hilbert.client.answers",
    "AsyncStream": "hilbert.client.async_transport",
    "AsyncClient": "hilbert.client.asynchronous",
    "Auth": "hilbert.client.auth",
    "BasicAuth": "hilbert.client.auth",
    "TokenAuth": "hilbert.client.auth",
    "BrokenAnswer": "hilbert.client.codec",
    "GatewayTimeout": "hilbert.client.faults",
    "GatewayUnreachable": "hilbert.client.faults",
    "UnexpectedAnswer": "hilbert.client.faults",
    "RedirectRefused": "hilbert.client.redirect",
    "Client": "hilbert.client.sync",
    "FunctionToken": "hilbert.client.tokens",
    "Stream": "hilbert.client.transport",
    "ActivationTimeout": "hilbert.core.errors",
    "AlreadyExists": "hilbert.core.errors",
    "BackendError": "hilbert.core.errors",
    "BackendUnavailable": "hilbert.core.errors",
    "Conflict": "hilbert.core.errors",
    "Forbidden": "hilbert.core.errors",
    "FunctionNotFound": "hilbert.core.errors",
    "HilbertError": "hilbert.core.errors",
    "Invalid": "hilbert.core.errors",
    "NamespaceNotFound": "hilbert.core.errors",
    "NotFound": "hilbert.core.errors",
    "Overloaded": "hilbert.core.errors",
    "QueueFull": "hilbert.core.errors",
    "QuotaExceeded": "hilbert.core.errors",
    "RateLimited": "hilbert.core.errors",
    "SecretNotFound": "hilbert.core.errors",
    "StartFailed": "hilbert.core.errors",
    "StorageFull": "hilbert.core.errors",
    "Unauthenticated": "hilbert.core.errors",
    "Unsupported": "hilbert.core.errors",
    "CallTimeouts": "hilbert.wire.function",
    "Deployment": "hilbert.wire.function",
    "Function": "hilbert.wire.function",
    "FunctionDetail": "hilbert.wire.function",
    "ResourceAmounts": "hilbert.wire.function",
    "UsageAmounts": "hilbert.wire.function",
    "GatewayInfo": "hilbert.wire.info",
    "ProviderInfo": "hilbert.wire.info",
    "VersionInfo": "hilbert.wire.info",
    "LogMessage": "hilbert.wire.log",
    "NamespaceInfo": "hilbert.wire.namespace",
    "SecretInfo": "hilbert.wire.secret",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
