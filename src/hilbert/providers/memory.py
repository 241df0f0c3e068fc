"""Functions as coroutines in this process: for tests, and the shortest example of a provider.

Every image runs the same function: it answers with the request's body. Each replica is a real HTTP/1.1 server on a unix
socket, so that routing and calls are real; nothing is kept when the process ends.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import shutil
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import httptools
import msgspec

from hilbert.core.errors import (
    AlreadyExists,
    Forbidden,
    FunctionNotFound,
    Invalid,
    NamespaceNotFound,
    SecretNotFound,
)
from hilbert.core.model import (
    Endpoint,
    EndpointSet,
    FunctionSpec,
    FunctionStatus,
    LogLine,
    LogQuery,
    Namespace,
    Phase,
    Secret,
    Synced,
)
from hilbert.core.values import DEFAULT_NAMESPACE, FunctionRef, NamespaceName, SecretName
from hilbert.providers import quota
from hilbert.providers.hub import Hub
from hilbert.providers.rules import check_namespace, check_spec, initial_replicas, updated_replicas


class MemoryProvider:
    """A `Provider` with `Namespaces`, `Secrets` and `Logs`. Close it to stop its servers."""

    name = "memory"

    def __init__(self, *, default_namespace: NamespaceName = DEFAULT_NAMESPACE) -> None:
        self._default = default_namespace
        self._namespaces = {default_namespace: Namespace(name=default_namespace, created_at=datetime.now(UTC))}
        self._functions: dict[FunctionRef, _Function] = {}
        self._secrets: dict[tuple[NamespaceName, SecretName], bytes] = {}
        self._hub = Hub(self._endpoint_set, lambda: self._functions)
        self._folder = Path(tempfile.mkdtemp(prefix="hb-"))
        self._numbers = itertools.count(1)

    async def close(self) -> None:
        for function in self._functions.values():
            await function.resize(0, self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)

    # Provider

    async def apply(self, spec: FunctionSpec, *, create: bool | None = None) -> None:
        self._check(spec.ref.namespace)
        check_spec(spec)
        for secret in spec.secrets:
            if (spec.ref.namespace, secret) not in self._secrets:
                raise SecretNotFound(f"unable to find secret: {secret}")
        function = self._functions.get(spec.ref)
        if create is True and function is not None:
            raise AlreadyExists(f"function {spec.ref} already exists")
        if create is False and function is None:
            raise FunctionNotFound(f"function {spec.ref} not found")
        wanted = (
            initial_replicas(spec.labels) if function is None else updated_replicas(spec.labels, len(function.servers))
        )
        self._check_quota(spec, wanted)
        if function is None:
            function = self._functions[spec.ref] = _Function(spec, self._numbers)
        else:
            function.generation += spec != function.spec
            function.spec = spec
        await function.resize(wanted, self._folder)
        self._hub.changed(spec.ref)

    async def scale(self, ref: FunctionRef, replicas: int) -> None:
        if replicas < 0:
            raise Invalid(f"replicas: must be 0 or more, not {replicas}")
        function = self._function(ref)
        self._check_quota(function.spec, replicas)
        await function.resize(replicas, self._folder)
        self._hub.changed(ref)

    async def restart(self, ref: FunctionRef) -> None:
        function = self._function(ref)
        old = list(function.servers)
        await function.resize(2 * len(old), self._folder)
        for endpoint in old:
            function.drop(endpoint)
        function.generation += 1
        self._hub.changed(ref)

    async def remove(self, ref: FunctionRef) -> None:
        self._check(ref.namespace)
        function = self._functions.pop(ref, None)
        self._hub.changed(ref)
        if function is not None:
            await function.resize(0, self._folder)

    async def get(self, ref: FunctionRef) -> FunctionStatus:
        return self._function(ref).status()

    async def list(self, namespace: NamespaceName) -> Sequence[FunctionStatus]:
        self._check(namespace)
        return [self._functions[ref].status() for ref in sorted(self._functions) if ref.namespace == namespace]

    def watch(self) -> AsyncIterator[EndpointSet | Synced]:
        return self._hub.watch()

    # Namespaces

    async def list_namespaces(self) -> Sequence[Namespace]:
        return [self._namespaces[name] for name in sorted(self._namespaces)]

    async def get_namespace(self, name: NamespaceName) -> Namespace:
        self._check(name)
        return self._namespaces[name]

    async def create_namespace(self, namespace: Namespace) -> None:
        check_namespace(namespace)
        if namespace.name in self._namespaces:
            raise AlreadyExists(f"namespace {namespace.name} already exists")
        self._namespaces[namespace.name] = msgspec.structs.replace(namespace, created_at=datetime.now(UTC))

    async def update_namespace(self, namespace: Namespace) -> None:
        self._check(namespace.name)
        check_namespace(namespace)
        created_at = self._namespaces[namespace.name].created_at
        self._namespaces[namespace.name] = msgspec.structs.replace(namespace, created_at=created_at)
        for ref in self._functions:
            if ref.namespace == namespace.name:
                self._hub.changed(ref)

    async def delete_namespace(self, name: NamespaceName, *, force: bool = False) -> None:  # noqa: ARG002 - all is ours
        self._check(name)
        if name == self._default:
            raise Forbidden(f"namespace {name} is the default namespace and cannot be deleted")
        del self._namespaces[name]
        for key in [key for key in self._secrets if key[0] == name]:
            del self._secrets[key]
        for ref in [ref for ref in self._functions if ref.namespace == name]:
            function = self._functions.pop(ref)
            self._hub.changed(ref)
            await function.resize(0, self._folder)

    # Secrets

    async def list_secrets(self, namespace: NamespaceName) -> Sequence[SecretName]:
        self._check(namespace)
        return sorted(name for owner, name in self._secrets if owner == namespace)

    async def secret_value(self, namespace: NamespaceName, name: SecretName) -> bytes:
        self._check(namespace)
        if (namespace, name) not in self._secrets:
            raise SecretNotFound(f"unable to find secret: {name}")
        return self._secrets[namespace, name]

    async def create_secret(self, secret: Secret) -> None:
        self._check(secret.namespace)
        if (secret.namespace, secret.name) in self._secrets:
            raise AlreadyExists(f"secret {secret.name} already exists in namespace {secret.namespace}")
        annotations = self._namespaces[secret.namespace].annotations
        quota.check_secrets(annotations, len(await self.list_secrets(secret.namespace)), f"secret {secret.name}")
        self._secrets[secret.namespace, secret.name] = secret.value

    async def update_secret(self, secret: Secret) -> None:
        self._check_secret(secret.namespace, secret.name)
        self._secrets[secret.namespace, secret.name] = secret.value

    async def delete_secret(self, namespace: NamespaceName, name: SecretName) -> None:
        self._check_secret(namespace, name)
        del self._secrets[namespace, name]

    # Logs

    async def read_logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        """A line for each call; the newest thousand are kept."""
        function = self._function(query.ref)
        since = 0 if query.since is None else int(query.since.timestamp() * 1e9)
        given = 0
        lines = [
            line for _, line in function.lines if line.timestamp_ns >= since and query.takes(line.call_id, line.text)
        ]
        for line in lines[-query.tail :] if query.tail > 0 else lines:
            if query.instance in ("", line.instance):
                yield line
        given = function.written
        while query.follow and self._functions.get(query.ref) is function:
            for number, line in list(function.lines):
                if number > given and query.instance in ("", line.instance) and query.takes(line.call_id, line.text):
                    yield line
            given = function.written
            await asyncio.sleep(0.02)

    def _check(self, namespace: NamespaceName) -> None:
        if namespace not in self._namespaces:
            raise NamespaceNotFound(f"namespace {namespace} not found")

    def _check_quota(self, spec: FunctionSpec, replicas: int) -> None:
        annotations = self._namespaces[spec.ref.namespace].annotations
        quota.check_resources(spec, annotations)
        now = {
            ref: quota.demand(len(each.servers), each.spec.limits, each.spec.requests, annotations)
            for ref, each in self._functions.items()
            if ref.namespace == spec.ref.namespace
        }
        then = {**now, spec.ref: quota.demand(replicas, spec.limits, spec.requests, annotations)}
        quota.check(annotations, now.values(), then.values(), f"function {spec.ref}")

    def _check_secret(self, namespace: NamespaceName, name: SecretName) -> None:
        self._check(namespace)
        if (namespace, name) not in self._secrets:
            raise SecretNotFound(f"unable to find secret: {name}")

    def _function(self, ref: FunctionRef) -> _Function:
        self._check(ref.namespace)
        function = self._functions.get(ref)
        if function is None:
            raise FunctionNotFound(f"function {ref} not found")
        return function

    def _endpoint_set(self, ref: FunctionRef) -> EndpointSet:
        function = self._functions.get(ref)
        if function is None:
            return EndpointSet(ref=ref, spec=None)
        annotations: Mapping[str, str] = self._namespaces[ref.namespace].annotations
        return EndpointSet(
            ref=ref, spec=function.spec, endpoints=tuple(function.servers), namespace_annotations=annotations
        )


class _Function:
    """One function: its spec, its replicas, what they wrote."""

    def __init__(self, spec: FunctionSpec, numbers: itertools.count[int]) -> None:
        self.spec = spec
        self.generation = 1
        self.created_at = datetime.now(UTC)
        self.servers: dict[Endpoint, asyncio.AbstractServer] = {}
        self.lines: deque[tuple[int, LogLine]] = deque(maxlen=1000)
        self.written = 0
        self._numbers = numbers

    async def resize(self, replicas: int, folder: Path) -> None:
        while len(self.servers) < replicas:
            replica = f"{self.spec.ref.name}-{next(self._numbers):06}"
            path = folder / replica.rpartition("-")[2]
            echo = functools.partial(_Echo, self, replica)
            server = await asyncio.get_running_loop().create_unix_server(echo, path)
            self.servers[Endpoint(replica, f"unix:{path}")] = server
        while len(self.servers) > replicas:
            self._stop(*self.servers.popitem())

    def drop(self, endpoint: Endpoint) -> None:
        self._stop(endpoint, self.servers.pop(endpoint))

    def _stop(self, endpoint: Endpoint, server: asyncio.AbstractServer) -> None:
        server.close()
        Path(endpoint.address.removeprefix("unix:")).unlink(missing_ok=True)

    def write(self, replica: str, text: str) -> None:
        self.written += 1
        self.lines.append((self.written, LogLine(self.spec.ref, replica, time.time_ns(), text)))

    def status(self) -> FunctionStatus:
        count = len(self.servers)
        return FunctionStatus(
            spec=self.spec,
            replicas=count,
            available=count,
            created_at=self.created_at,
            generation=self.generation,
            ready_generation=self.generation,
            phase=Phase.READY if count else Phase.IDLE,
            placement={"provider": "memory", "sandbox": "none", "network": "host"},
        )


class _Echo(asyncio.Protocol):
    """One connection to a replica: answers each request with its own body."""

    def __init__(self, function: _Function, replica: str) -> None:
        self._function = function
        self._replica = replica
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        self._url = b""
        self._body.clear()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._function.write(self._replica, f"{self._parser.get_method().decode()} {self._url.decode('latin-1')}")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(self._body)}\r\n\r\n"
        self._transport.write(head.encode() + bytes(self._body))
