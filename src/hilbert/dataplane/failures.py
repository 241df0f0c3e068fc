"""Errors that the gateway itself answers a call with: who failed, why, what to do, and the call id."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from hilbert.core.limits import Scope
from hilbert.core.model import StartFault
from hilbert.dataplane.places import Places
from hilbert.kit.http1 import Headers

HEADER: Final = b"X-Hilbert-Error"
"""Holds the code of an error that the gateway made. Taken off what functions answer, so its presence is proof."""

INTERNAL: Final = b"X-OpenFaaS-Internal"
"""The same for OpenFaaS's clients; functions may send it too, as OpenFaaS's watchdogs do."""


class Failure(NamedTuple):
    """One way for a call to fail before or beside the function."""

    status: int
    code: str
    component: str
    """Who failed: `gateway`, `function` or `client`."""
    message: str
    hint: str = ""
    retry_after: int = 0
    """Seconds; 0 is no advice."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """More of them."""
    is_of_watchdogs: bool = False
    """OpenFaaS's watchdogs refuse so, and clients know it by their mark."""
    who: str = ""
    """The caller's identity, where it has proved that but may not do it. Not told to anybody but the audit log."""


def render(failure: Failure, call_id: bytes, *, accept: bytes) -> tuple[Headers, bytes]:
    """Headers and body: JSON for a client that asks for it, else one or two lines of text."""
    headers: Headers = [(INTERNAL, b"gateway" if failure.component == "client" else b"proxy")]
    if failure.is_of_watchdogs:
        headers[0] = (INTERNAL, b"faas-middleware")
    headers.append((HEADER, failure.code.encode()))
    if failure.retry_after:
        headers.append((b"Retry-After", b"%d" % failure.retry_after))
    headers += failure.headers
    if b"json" in accept.lower():
        body = msgspec.json.encode(
            {
                "error": {
                    "code": failure.code,
                    "component": failure.component,
                    "message": failure.message,
                    "hint": failure.hint,
                    "call_id": call_id.decode("ascii", "replace"),
                }
            }
        )
        return [(b"Content-Type", b"application/json"), *headers], body + b"\n"
    text = f"{failure.message}\n{failure.hint}\n" if failure.hint else failure.message
    return [(b"Content-Type", b"text/plain; charset=utf-8"), *headers], text.encode()


NO_NAME: Final = Failure(400, "no-function-name", "client", "Provide function name in the request path")
METHOD: Final = Failure(
    405, "method-not-allowed", "client", "functions are called with GET, POST, PUT, PATCH, DELETE, OPTIONS or HEAD",
    headers=((b"Allow", b"GET, POST, PUT, PATCH, DELETE, OPTIONS, HEAD"),),
)  # fmt: skip
FIRED_HERE: Final = Failure(
    202, "fired-by-gateway", "gateway", "the gateway calls this function at its times itself: this call is not made",
    "remove the cron-connector, or leave the function to it with the annotation com.hilbert.schedule.by: connector",
)  # fmt: skip
NOT_INSIDE: Final = Failure(
    404,
    "not-inside",
    "client",
    "from inside, functions can reach only /function/, /async-function/ and, with credentials, /system/",
)
FUNCTIONS_ONLY: Final = Failure(
    421, "functions-only", "client", "this name answers only functions of one namespace", "use the gateway's own name"
)
CREDENTIALS: Final = Failure(401, "unauthenticated", "client", "/system/ needs credentials, also from inside")
NOT_YET: Final = Failure(
    503, "no-route-table", "gateway", "the gateway has no route table yet", "try again in a moment", retry_after=1
)
CONTROL_AWAY: Final = Failure(
    503, "control-plane-unavailable", "gateway", "the control plane does not answer; functions can still be called",
    "it restarts automatically: try again in a moment; if that does not help, see its log", retry_after=1,
)  # fmt: skip


SHORT: Final = Failure(
    503, "too-many-connections", "gateway", "the gateway is short of file descriptors",
    "try again in a moment; its administrator can raise the limit of open files (ulimit -n)", retry_after=1,
)  # fmt: skip


def unknown(name: str) -> Failure:
    return Failure(
        404,
        "function-not-found",
        "client",
        f"error finding function {name}: server returned non-200 status code (404) for function, "
        f"{name.partition('.')[0]}, body: ",
    )


def lost(name: str, reason: str) -> Failure:
    return Failure(
        502,
        "upstream-unreachable",
        "function",
        f"Can't reach service for: {name}.",
        f"the replica did not answer ({reason}); 'hilbert logs {name}' may say why",
    )


def queue_full(name: str, length: int) -> Failure:
    return Failure(
        503, "queue-full", "gateway", f"No endpoints available for: {name}.",
        f"{length} calls wait already, the limit of this function in each worker; "
        "raise it with annotation com.hilbert.queue-length or setting gateway.queue_length", retry_after=1,
    )  # fmt: skip


def room_full(name: str, most: int) -> Failure:
    return Failure(
        503, "queue-full", "gateway", f"No endpoints available for: {name}.",
        f"the bodies of calls that wait take {most} bytes already, the limit of each worker (setting "
        "gateway.max_waiting_bytes)", retry_after=1,
    )  # fmt: skip


def overloaded(what: str) -> Failure:
    """The worker has nearly as many calls as it can have."""
    return Failure(
        503, "overloaded", "gateway", f"the gateway has nearly as many calls under way as it can have: {what}",
        "try again in a moment; its administrator can raise the setting gateway.max_connections, or the limit of open "
        "files", retry_after=1,
    )  # fmt: skip


def source_busy(most: int) -> Failure:
    return Failure(
        503, "too-many-calls", "client", f"{most} calls from your address are under way already",
        "wait for some to end; the limit counts for each worker (setting gateway.max_source_connections)", retry_after=1,
    )  # fmt: skip


def tunnels_taken(tunnels: Places, source: str) -> Failure:
    """No place for one more connection with another protocol."""
    what = "from your address" if not tunnels.full and source else "in each worker"
    most = tunnels.most if tunnels.full else tunnels.most_of_source
    return Failure(
        503, "too-many-tunnels", "gateway", f"{most} upgraded connections are open {what} already",
        "wait for some to end, or raise the setting gateway.max_tunnels", retry_after=1,
    )  # fmt: skip


def api_busy(calls: Places, source: str) -> Failure:
    """No place for one more request to the REST API."""
    what = "from your address" if not calls.full and source else "in each worker"
    most = calls.most if calls.full else calls.most_of_source
    return Failure(
        503, "too-many-api-calls", "gateway", f"{most} requests to the REST API are under way {what} already",
        "wait for some to end, or raise the setting gateway.max_api_calls", retry_after=1,
    )  # fmt: skip


def limit_reached(scope: Scope, kind: str, value: str, seconds: int, policy: bytes) -> Failure:
    """A limit on the calls of a namespace or a function. `policy` is what `RateLimit-Policy` says of it."""
    namespace, name = scope
    whose = f"function {name}.{namespace}" if name else f"namespace {namespace}"
    who = "its owner" if name else "an administrator"
    item = b'"%b-%b";r=0;t=%d' % (b"function" if name else b"namespace", kind.encode(), seconds)
    return Failure(
        429, "limit-reached", "client", f"{whose} has reached its limit of {value}",
        f"try again in {seconds} s; {who} can raise its annotation com.hilbert.limits.{kind}", seconds,
        ((b"RateLimit", item), (b"RateLimit-Policy", policy)),
    )  # fmt: skip


def no_replica(name: str, seconds: float, why: str) -> Failure:
    """The wait for a replica has ended in vain."""
    return Failure(
        503, "activation-timeout", "function", f"No endpoints available for: {name}.",
        f"{why}, and none was free within {seconds:g} s (annotation com.hilbert.timeout.activation or setting "
        f"gateway.activation_timeout); 'hilbert describe {name}' says more", retry_after=5,
    )  # fmt: skip


def not_starting(name: str, fault: StartFault) -> Failure:
    """No replica comes up, and it is known why."""
    return Failure(
        503, "not-starting", "function", f"{name} does not start: {fault.reason}: {fault.message}",
        f"it is retried automatically; 'hilbert describe {name}' and 'hilbert logs {name}' say more", retry_after=5,
    )  # fmt: skip


def gone(name: str) -> Failure:
    return Failure(404, "function-not-found", "client", f"function {name} was removed while the call waited")


def too_slow(name: str, what: str, seconds: float, annotation: str, setting: str) -> Failure:
    return Failure(
        504, "upstream-timeout", "function", f"{name}: {what} took more than {seconds:g} s",
        f"raise it with annotation {annotation} or setting {setting}",
    )  # fmt: skip


def body_too_large(most: int, setting: str) -> Failure:
    return Failure(
        413, "body-too-large", "client", f"the request's body has more than {most} bytes (setting {setting})"
    )
