"""Who waits for whom where there are more requests than can be handled at once: two classes, and turns among tenants.

Whoever governs the platform is one class, all others the other: what tenants ask for never keeps an administrator waiting.
Tenants take turns, so that one with a thousand requests costs another with one the time of one.
Calls that are queued are not among them: they have bounds of their own, and go to the disk together.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from hilbert.api.endpoint import Access, Call
from hilbert.core.identity import PLATFORM, Action, Caller
from hilbert.core.limits import TenantLimits
from hilbert.iam.rights import may

_API: Final = "/system/"


def turn(call: Call) -> contextlib.AbstractAsyncContextManager[None]:
    """A place for the time of its handler, and of what is looked up before."""
    if not call.endpoint.path.startswith(_API) or call.endpoint.access is Access.PUBLIC:
        return contextlib.nullcontext()
    if governs(call.caller):
        return call.services.platform_turns.place("")
    return _turn_of_tenant(call)


@contextlib.asynccontextmanager
async def _turn_of_tenant(call: Call) -> AsyncIterator[None]:
    """The place is kept until the event loop has looked for what has come meanwhile.

    Most handlers run in one go. Without that, all requests that one tenant has sent would be handled before anybody
    else's is even read.
    """
    async with call.services.turns.place(tenant_of(call.caller)):
        try:
            yield
        finally:
            await asyncio.sleep(0)


def tenant_of(caller: Caller) -> str:
    """The namespaces in which it has rights: all tokens of a tenant are one party, however many it makes."""
    return ",".join(sorted({name.partition(":")[0] for grant in caller.grants for name in grant.resources}))


def check_pace(call: Call) -> None:
    """Raise `RateLimited` for one change too many in a namespace. Whoever governs the platform is not held up."""
    if not call.endpoint.is_change or not call.endpoint.path.startswith(_API) or governs(call.caller):
        return
    for _, namespace in call.target.each():
        if namespace is not None:
            call.services.writes.take(namespace.name, TenantLimits.usable(namespace.annotations).api_writes)


def governs(caller: Caller) -> bool:
    """Whether the platform is its to govern: its requests are of the first class."""
    return may(caller, Action.SYSTEM_GOVERN, PLATFORM)
