"""A typed client of the gateway's REST API and of functions, synchronous (`Client`) and asynchronous (`AsyncClient`).

What belongs here: requests, answers, and the connection between. What does not: anything about terminals or files of
the command line, which is one user of this package among others.

    from hilbert.client import BasicAuth, Client

    with Client("http://127.0.0.1:8080", auth=BasicAuth("admin", "...")) as client:
        print([function.name for function in client.list_functions("dev")])

Errors are `hilbert.core.errors`. The classes load when first used, since the command line must start fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hilbert.client.asynchronous import AsyncClient
    from hilbert.client.auth import Auth, BasicAuth, TokenAuth
    from hilbert.client.faults import GatewayTimeout, GatewayUnreachable, UnexpectedAnswer
    from hilbert.client.redirect import RedirectRefused
    from hilbert.client.sync import Client
    from hilbert.client.tokens import FunctionToken
    from hilbert.client.types import (
        Deployment,
        Function,
        FunctionDetail,
        GatewayInfo,
        Invocation,
        LogMessage,
        NamespaceInfo,
        ResourceAmounts,
    )

__all__ = [
    "AsyncClient",
    "Auth",
    "BasicAuth",
    "Client",
    "Deployment",
    "Function",
    "FunctionDetail",
    "FunctionToken",
    "GatewayInfo",
    "GatewayTimeout",
    "GatewayUnreachable",
    "Invocation",
    "LogMessage",
    "NamespaceInfo",
    "RedirectRefused",
    "ResourceAmounts",
    "TokenAuth",
    "UnexpectedAnswer",
]

_HOMES = {
    "AsyncClient": "asynchronous",
    "Client": "sync",
    "Auth": "auth",
    "BasicAuth": "auth",
    "TokenAuth": "auth",
    "FunctionToken": "tokens",
    "RedirectRefused": "redirect",
    "GatewayTimeout": "faults",
    "GatewayUnreachable": "faults",
    "UnexpectedAnswer": "faults",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'types')}"), name)
