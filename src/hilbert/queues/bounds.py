"""What every queue decides alike: how much may be kept, and what makes two calls the same."""

from __future__ import annotations

import hashlib

from hilbert.core.errors import CallNotFound, QueueFull
from hilbert.core.ports.queue import QueueBounds, QueuedCall
from hilbert.core.values import FunctionRef


def digest_of(call: QueuedCall) -> bytes:
    """Of the function and the request, by which damage is found as well."""
    return hashlib.sha256(f"{call.ref}\0".encode() + call.body).digest()


def not_found(namespace: str | None, call: str) -> CallNotFound:
    """The same words whether the call is nowhere or in another namespace."""
    return CallNotFound(f"no call {call} in namespace {namespace}" if namespace else f"no call {call}")


def fingerprint_of(call: QueuedCall) -> bytes:
    """What two calls with one key, or one id, must have in common."""
    return call.fingerprint or digest_of(call)


def check_bounds(
    bounds: QueueBounds, ref: FunctionRef, *, function: tuple[int, int], namespace: tuple[int, int]
) -> None:
    """Raise `QueueFull` when these numbers of calls and bytes are too many, naming the bound."""
    for scope, load, calls, size in (
        (f"namespace {ref.namespace}", namespace, bounds.namespace_calls, bounds.namespace_bytes),
        (f"function {ref}", function, bounds.function_calls, bounds.function_bytes),
    ):
        for used, most, what in ((load[0], calls, "calls"), (load[1], size, "bytes")):
            if used > most:
                raise QueueFull(
                    f"the queue of {scope} is full: it may hold {most} {what}",
                    hint="wait until some are done, or purge dead letters, which count as well",
                    retry_after=5,
                )
