"""The asynchronous client: the methods of `Client`, to be awaited."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from hilbert import __version__
from hilbert.client import access, calls, running
from hilbert.client.answers import Accepted, Invocation
from hilbert.client.arguments import check, checked
from hilbert.client.async_queued import AsyncQueued
from hilbert.client.async_transport import AsyncStream, AsyncTransport
from hilbert.client.auth import Auth, TokenAuth
from hilbert.client.calls import MAX_ANSWER, Body, Call, Pairs
from hilbert.client.codec import Pieces
from hilbert.client.readiness import POLL, is_ready, not_ready_in_time
from hilbert.client.tokens import FunctionToken, exchange
from hilbert.client.url import DEFAULT_URL, parse_url
from hilbert.core.environment import environment
from hilbert.core.errors import FunctionNotFound
from hilbert.wire.access import AccessChange, AccessObject, ExchangeAnswer, KeyInfo
from hilbert.wire.audit import AuditPage
from hilbert.wire.function import Deployment, Function
from hilbert.wire.info import GatewayInfo
from hilbert.wire.limits import LimitStatus
from hilbert.wire.log import LogMessage
from hilbert.wire.namespace import NamespaceInfo
from hilbert.wire.scaling import Scaling
from hilbert.wire.secret import SecretInfo
from hilbert.wire.token import Identity, NewToken, TokenInfo
from hilbert.wire.usage import UsageDay

T = TypeVar("T")


@checked
class AsyncClient(AsyncQueued):
    """One gateway, for any number of tasks of one event loop.

    Every method raises `GatewayUnreachable` and `GatewayTimeout` when there is no answer, `Unauthenticated` and
    `Forbidden` when the credentials are rejected or lack a right, and what its own text says. An empty namespace is the gateway's default.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        auth: Auth | None = None,
        timeout: float = 60.0,
        verify: bool = True,
        ca_file: str = "",
        user_agent: str = "",
        environ: Mapping[str, str] | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        """`timeout` in seconds bounds each call, unless the method says otherwise.

        `verify=False` accepts any certificate; `ca_file` names more to trust. Proxies come from `environ`, or from the
        process's environment. `trace` is given every request as text, without credentials. Raises `Invalid` for a bad URL.
        """
        origin = parse_url(url)
        extra = [("User-Agent", user_agent or f"hilbert/{__version__}"), ("Accept-Encoding", "identity")]
        # For the REST API alone: functions are called without it, since it would reach their code.
        self._auth = () if auth is None else (("Authorization", auth.header()),)
        self._token = auth.token if isinstance(auth, TokenAuth) else ""
        self.url = str(origin)
        self.timeout = timeout
        self._transport = AsyncTransport(
            origin,
            environ=environment() if environ is None else environ,
            verify=verify,
            ca_file=ca_file,
            extra=extra,
            trace=trace,
        )

    @property
    def timeout(self) -> float:
        """Seconds that a call may take, unless its method says otherwise."""
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        check("timeout", seconds, "float")
        self._timeout = seconds

    @classmethod
    def local(cls, *, timeout: float = 60.0) -> Self:
        """A client of the gateway that `hilbert up` runs on this machine, with the credentials that it made.

        Raises `GatewayUnreachable` when none runs.
        """
        check("timeout", timeout, "float")
        url, auth = running.find_with_auth(environment())
        return cls(url, auth=auth, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close kept connections. The client can be used again afterwards."""
        await self._transport.close()

    # The gateway.

    async def info(self) -> GatewayInfo:
        """Versions of the gateway and of what runs the functions."""
        return await self._run(calls.info())

    async def check_health(self) -> None:
        """Returns if the gateway is well; needs no credentials."""
        await self._run(calls.health())

    # Functions.

    async def list_functions(self, namespace: str = "") -> list[Function]:
        """The functions of one namespace."""
        return await self._run(calls.list_functions(namespace))

    async def get_function(self, name: str, namespace: str = "", *, usage: bool = False) -> Function:
        """One function; with `usage`, what it consumes. Raises `FunctionNotFound`."""
        return await self._run(calls.get_function(name, namespace, usage=usage))

    async def deploy(self, deployment: Deployment) -> Accepted:
        """Update the function, or create it if it is not there.

        Returns once the gateway has promised it, not when it is ready. Raises `Invalid`.
        """
        try:
            return await self.update_function(deployment)
        except FunctionNotFound:
            return await self.create_function(deployment)

    async def create_function(self, deployment: Deployment) -> Accepted:
        """Raises `Invalid`, and `Conflict` or `UnexpectedAnswer` when it is there already."""
        return await self._run(calls.create_function(deployment))

    async def update_function(self, deployment: Deployment) -> Accepted:
        """Replace the whole specification. Raises `FunctionNotFound` and `Invalid`."""
        return await self._run(calls.update_function(deployment))

    async def delete_function(self, name: str, namespace: str = "") -> None:
        """Raises `FunctionNotFound`."""
        await self._run(calls.delete_function(name, namespace))

    async def get_scaling(self, name: str, namespace: str = "") -> Scaling:
        """How a function scales, and why its count is what it is. Raises `FunctionNotFound`."""
        return await self._run(calls.get_scaling(name, namespace))

    async def scale_function(self, name: str, replicas: int, namespace: str = "") -> None:
        """Set the number of replicas; 0 stops all until the next call. Raises `FunctionNotFound`."""
        await self._run(calls.scale_function(name, namespace, replicas))

    async def restart_function(self, name: str, namespace: str = "") -> None:
        """Replace all replicas by new ones, one after the other; `wait_ready` waits for them. Raises `FunctionNotFound`."""
        await self._run(calls.restart_function(name, namespace))

    async def wait_ready(self, name: str, namespace: str = "", *, timeout: float = 60.0) -> Function:  # noqa: ASYNC109 - as Client has it
        """Wait until the newest deployment of a function can be called; one that is scaled to zero can.

        Raises `FunctionNotFound`, `StartFailed` with the reason as soon as the gateway knows that it does not start, and
        `ActivationTimeout` after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not is_ready(function := await self.get_function(name, namespace)):
            if time.monotonic() >= deadline:
                raise not_ready_in_time(function, timeout)
            await asyncio.sleep(POLL)
        return function

    # Namespaces.

    async def list_namespaces(self) -> list[str]:
        """The names of the function namespaces that the caller may see."""
        return await self._run(calls.list_namespaces())

    async def get_namespace(self, name: str, *, deleting: bool = False) -> NamespaceInfo:
        """Raises `NamespaceNotFound`; with `deleting`, `Conflict` for one that is being deleted, saying what is left."""
        return await self._run(calls.get_namespace(name, deleting=deleting))

    async def create_namespace(
        self, name: str, *, labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None
    ) -> str:
        """Returns a warning of what has no effect, or nothing. Raises `AlreadyExists` and `Invalid`."""
        return await self._run(calls.create_namespace(name, labels=labels or {}, annotations=annotations or {}))

    async def update_namespace(
        self, name: str, *, labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None
    ) -> str:
        """Replace labels and annotations whole. Returns as `create_namespace` does. Raises `NamespaceNotFound`."""
        return await self._run(calls.update_namespace(name, labels=labels or {}, annotations=annotations or {}))

    async def delete_namespace(self, name: str, *, force: bool = False) -> None:
        """Remove the namespace with all that is in it. Raises `NamespaceNotFound`.

        Raises `Conflict`, which names them, if it holds things that the platform did not make, unless `force`.
        """
        await self._run(calls.delete_namespace(name, force=force))

    # Secrets.

    async def list_limits(self, namespace: str = "") -> list[LimitStatus]:
        """The limits on the calls of a namespace and its functions. Raises `NamespaceNotFound`."""
        return await self._run(calls.list_limits(namespace))

    async def list_secrets(self, namespace: str = "") -> list[SecretInfo]:
        """The names of a namespace's secrets; values are never given."""
        return await self._run(calls.list_secrets(namespace))

    async def create_secret(self, name: str, value: Body, namespace: str = "") -> int:
        """Returns the HTTP status, 202 unless the gateway is another. Raises `AlreadyExists` and `Invalid`."""
        return await self._run(calls.put_secret("POST", name, value, namespace))

    async def update_secret(self, name: str, value: Body, namespace: str = "") -> int:
        """Returns the HTTP status, 202 unless the gateway is another. Raises `SecretNotFound`."""
        return await self._run(calls.put_secret("PUT", name, value, namespace))

    async def delete_secret(self, name: str, namespace: str = "") -> None:
        """Raises `SecretNotFound`."""
        await self._run(calls.delete_secret(name, namespace))

    # Tokens and rights.

    async def list_tokens(self) -> list[TokenInfo]:
        """The tokens that the caller may see, without what would prove them."""
        return await self._run(calls.list_tokens())

    async def create_token(self, name: str, role: str, namespaces: Sequence[str], *, expires_in: str = "") -> NewToken:
        """Make a token: `role` is `invoker`, `viewer`, `deployer`, `developer` or `owner`, `expires_in` like `90d`.

        Its text is in the answer and nowhere else. Raises `Invalid`, `Forbidden` and `QuotaExceeded`.
        """
        return await self._run(calls.create_token(name, role, namespaces, expires_in))

    async def revoke_token(self, number: str) -> None:
        """Revoke the token with this id, at once. Raises `NotFound`."""
        await self._run(calls.revoke_token(number))

    async def audit(
        self,
        *,
        namespace: str = "",
        actor: str = "",
        action: str = "",
        refused: bool = False,
        since: str = "",
        until: str = "",
        after: int = 0,
        before: int = 0,
        limit: int = 100,
    ) -> AuditPage:
        """The newest records of the audit log that match, or with `after` those behind that line. Times are RFC 3339."""
        query = {
            "namespace": namespace,
            "actor": actor,
            "action": action,
            "refused": "true" if refused else "",
            "since": since,
            "until": until,
            "after": str(after) if after else "",
            "before": str(before) if before else "",
            "limit": str(limit),
        }
        return await self._run(calls.read_audit(query))

    async def usage(self, *, namespace: str = "", first: str = "", last: str = "") -> list[UsageDay]:
        """What each namespace has used, by day (`2026-01-31`)."""
        return await self._run(calls.read_usage({"namespace": namespace, "from": first, "to": last}))

    async def whoami(self) -> Identity:
        """Who the gateway takes this client for, and its rights."""
        return await self._run(calls.whoami())

    async def can_i(self, action: str, resource: str = "*") -> bool:
        """Whether this client may do `action` (`Function:Create`) on `resource` (`NAMESPACE:*`). Raises `Invalid`."""
        return (await self._run(calls.can_i(action, resource))).allowed

    # Single sign-on.

    async def list_access(self) -> list[AccessObject]:
        """Issuers, policies and roles."""
        return await self._run(access.list_access())

    async def apply_access(
        self, documents: Sequence[Mapping[str, Any]], *, dry_run: bool = False
    ) -> list[AccessChange]:
        """Create or replace objects of `iam.openfaas.com/v1`, all or none; `dry_run` only says what would change.

        Raises `Invalid`, and `Unsupported` where they are custom resources of a cluster.
        """
        return await self._run(access.apply_access(documents, dry_run=dry_run))

    async def delete_access(self, kind: str, name: str) -> None:
        """Delete a `JwtIssuer`, `Policy` or `Role`. Raises `NotFound`."""
        await self._run(access.delete_access(kind, name))

    async def rotate_key(self, *, revoke: bool = False) -> KeyInfo:
        """Make a new signing key; `revoke` makes every token of single sign-on invalid at once. Raises `Conflict`."""
        return await self._run(access.rotate_key(revoke=revoke))

    async def exchange_token(self, token: str) -> ExchangeAnswer:
        """A token of the gateway for one of an identity provider or a CI system. Raises `Forbidden`."""
        return await self._run(access.exchange_token(token))

    # Logs.

    async def logs(
        self,
        name: str,
        namespace: str = "",
        *,
        instance: str = "",
        since: datetime | None = None,
        tail: int = -1,
        follow: bool = False,
        call_id: str = "",
        with_calls: bool = False,
    ) -> AsyncIterator[LogMessage]:
        """A function's log lines, oldest first; with `follow`, new ones until the gateway or the caller stops.

        `tail` is the most lines of the past, -1 all. `since` needs a time zone. `call_id` asks for the
        lines of one call only; with it or `with_calls` each message says its `call_id`. Raises `FunctionNotFound`.
        """
        call = calls.logs(
            name, namespace, instance=instance, since=since, tail=tail, follow=follow, call_id=call_id, calls=with_calls
        )
        reader = calls.LogReader()
        async with self._open(call, idle=math.inf if follow else self.timeout) as stream:
            async for piece in stream:
                for message in reader.feed(piece):
                    yield message
            for message in reader.finish():
                yield message

    # Invocations.

    async def invoke(
        self,
        name: str,
        body: Body = b"",
        *,
        namespace: str = "",
        method: str = "POST",
        path: str = "",
        query: Pairs = (),
        headers: Pairs = (),
        timeout: float | None = None,  # noqa: ASYNC109 - as Client has it
        limit: int = MAX_ANSWER,
        follow_redirects: bool = False,
    ) -> Invocation:
        """Call a function and take its whole answer, whatever its status.

        `timeout` in seconds replaces the client's. Raises `BrokenAnswer` for an answer longer than `limit` bytes, and
        `RedirectRefused` where `client.redirect` says so.
        """
        call = calls.invoke(name, namespace, method=method, path=path, query=query, headers=headers, body=body)
        send = self._transport.follow if follow_redirects else self._transport.send
        stream = await send(call.request, timeout=self.timeout if timeout is None else timeout)
        return Invocation(stream.head.status, stream.head.headers, await stream.read(limit))

    @asynccontextmanager
    async def stream(
        self,
        name: str,
        body: Body | Pieces = b"",
        *,
        namespace: str = "",
        method: str = "POST",
        path: str = "",
        query: Pairs = (),
        headers: Pairs = (),
        timeout: float | None = None,  # noqa: ASYNC109 - as Client has it
        idle_timeout: float | None = None,
        follow_redirects: bool = False,
    ) -> AsyncGenerator[AsyncStream]:
        """Call a function and take its answer piece by piece while `body` is still being sent.

        `timeout` bounds the time to the answer's head, `idle_timeout` that between two pieces; both default to the
        client's. A body that can be iterated again can follow a redirect that wants it again. The stream has `head` (status
        and headers) and is iterated once.
        """
        call = calls.invoke(name, namespace, method=method, path=path, query=query, headers=headers, body=body)
        send = self._transport.follow if follow_redirects else self._transport.send
        stream = await send(
            call.request,
            timeout=self.timeout if timeout is None else timeout,
            idle=self.timeout if idle_timeout is None else idle_timeout,
        )
        try:
            yield stream
        finally:
            await stream.close()

    async def function_token(self, name: str, namespace: str = "") -> FunctionToken:
        """A token with which the function can be called, made of this client's `TokenAuth` by the identity service.

        It goes into the header `Authorization: Bearer ...` of the call. Raises `Unauthenticated` without a `TokenAuth`,
        `Forbidden` when there shall be none, and `Unsupported` when the gateway has no identity service.
        """
        call = exchange(self._token, name=name, namespace=namespace)
        stream = await self._transport.send(call.request, timeout=self.timeout)
        body = await stream.read(MAX_ANSWER)
        return call.result(stream.head, body)

    async def invoke_async(
        self,
        name: str,
        body: Body = b"",
        *,
        namespace: str = "",
        path: str = "",
        query: Pairs = (),
        headers: Pairs = (),
        callback_url: str = "",
        key: str = "",
        delay: float = 0.0,
    ) -> str:
        """Queue a call and return its call id. Raises `FunctionNotFound`, `QueueFull` and `Unsupported`.

        `key` is its idempotency key: the same request with the same key gives the first one's id, and another raises
        `Conflict`. `delay`, in seconds, puts it off.
        """
        given = tuple(headers.items() if isinstance(headers, Mapping) else headers)
        extra = calls.about_queueing(callback_url, key, delay)
        call = calls.invoke(
            name,
            namespace,
            method="POST",
            path=path,
            query=query,
            headers=(*given, *extra),
            body=body,
            queued=True,
        )
        stream = await self._transport.send(call.request, timeout=self.timeout)
        answer = await stream.read(MAX_ANSWER)
        call.check(stream.head, answer)
        return stream.head.headers.get("x-call-id", "")

    async def _run(self, call: Call[T]) -> T:
        stream = await self._transport.send(call.request.adding(self._auth), timeout=self.timeout)
        body = await stream.read(MAX_ANSWER)
        return call.result(stream.head, body)

    @asynccontextmanager
    async def _open(self, call: Call[list[LogMessage]], *, idle: float) -> AsyncGenerator[AsyncStream]:
        stream = await self._transport.send(call.request.adding(self._auth), timeout=self.timeout, idle=idle)
        try:
            if not 200 <= stream.head.status < 300:
                call.check(stream.head, await stream.read(MAX_ANSWER))
            yield stream
        finally:
            await stream.close()
