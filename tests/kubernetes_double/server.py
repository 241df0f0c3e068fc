"""The server: an API, its controllers, and what tests hold of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn

from kubernetes_double.chaos import Chaos
from kubernetes_double.checks.access import ADMIN, Access, service_account
from kubernetes_double.checks.rbac import User, bootstrap
from kubernetes_double.controllers import NAMES, Controllers
from kubernetes_double.controllers.kubelet import Kubelet
from kubernetes_double.controllers.pace import Pace
from kubernetes_double.controllers.recorder import Recorder
from kubernetes_double.controllers.scripts import Images
from kubernetes_double.objects.definitions import Definitions, is_established
from kubernetes_double.objects.resources import Registry, Resource
from kubernetes_double.serving import reviews
from kubernetes_double.serving.app import App, Call
from kubernetes_double.serving.handlers import Handlers
from kubernetes_double.serving.metrics import Metrics
from kubernetes_double.serving.options import WriteOptions
from kubernetes_double.serving.status import Json
from kubernetes_double.storage.engine import Engine
from kubernetes_double.storage.store import Store

_MOST_NOTED = 50_000


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ApiServer:
    """A Kubernetes API server in this process; see the package's docstring."""

    def __init__(
        self,
        *,
        window: int = 20_000,
        controllers: bool | frozenset[str] = True,
        nodes: int = 1,
        pace: Pace | None = None,
        authority: Path | None = None,
    ) -> None:
        """`controllers` names those that run (`controllers.NAMES`); `window` is how many events a resource remembers.

        `authority` is a certificate for 127.0.0.1 that signed itself, with its key; with it the server speaks HTTPS.
        """
        chosen = controllers if isinstance(controllers, frozenset) else (NAMES if controllers else frozenset())
        self.store = Store(first=1000, window=window)
        self.engine = Engine(self.store, Registry())
        self.access = Access(self.engine)
        reviews.register(self.engine.registry)
        self.definitions = Definitions(self.engine, self._schema_changed)
        self.engine.on_definition = self.definitions.changed
        self.chaos = Chaos(self.store)
        self.pace = pace or Pace()
        self.images = Images()
        self.recorder = Recorder(self)
        self.metrics = Metrics(self)
        self.engine.admission.furnished = "furnish" in chosen
        self.controllers = Controllers(self, only=chosen)
        self.requests: deque[Call] = deque(maxlen=_MOST_NOTED)
        self.authority = authority
        self._nodes = nodes
        self._handlers = Handlers(self)
        self._folder = Path(tempfile.mkdtemp(prefix="hb-k8s-"))
        self._admin = self.access.tokens.issue(ADMIN)
        self._server: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None
        self._port = 0

    # Life

    async def __aenter__(self) -> ApiServer:
        self._seed()
        await self.listen()
        self.kubeconfig.write_text(self._config(self._admin))
        self.controllers.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.controllers.stop()
        await self.refuse()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def listen(self) -> None:
        """Begin (or go on, on the same port) to take connections."""
        if self._serving is not None:
            return
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self._port))
        self._port = sock.getsockname()[1]
        config = uvicorn.Config(
            App(self, self._handlers.handle),
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=300,
            ws="none",
            server_header=False,
            ssl_certfile=self.authority,
        )
        self._server = _Uvicorn(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[sock]))
        while not self._server.started:
            if self._serving.done():
                self._serving.result()
            await asyncio.sleep(0.002)

    async def refuse(self) -> None:
        """Drop every connection and refuse new ones, as a server that is away; `listen` ends it."""
        if self._server is None or self._serving is None:
            return
        for listener in self._server.servers:
            listener.close()
        self._drop_connections(self._server)
        self._server.should_exit = True
        self._server.force_exit = True
        await self._serving
        self._drop_connections(self._server)  # Accepted meanwhile.
        self._server = self._serving = None

    @staticmethod
    def _drop_connections(server: uvicorn.Server) -> None:
        for connection in list(server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()

    # Where and as whom

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://{self.address}"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of the administrator, for any client."""
        return self._folder / "admin.yaml"

    def token(self, user: str | User, *, groups: tuple[str, ...] = ()) -> str:
        """A bearer token for a user name, or for `system:serviceaccount:NAMESPACE:NAME`."""
        return self.access.tokens.issue(self.user(user, groups=groups))

    @staticmethod
    def user(user: str | User, *, groups: tuple[str, ...] = ()) -> User:
        if isinstance(user, User):
            return user
        parts = user.split(":")
        if user.startswith("system:serviceaccount:") and len(parts) == 4:
            return service_account(parts[2], parts[3])
        return User(user, (*groups, "system:authenticated"))

    def kubeconfig_for(self, user: str | User) -> Path:
        """A kubeconfig of any user; what it may do is up to the rules in the store."""
        token = self.token(user)
        path = self._folder / f"{token}.yaml"
        path.write_text(self._config(token))
        return path

    def _config(self, token: str) -> str:
        trust = {"certificate-authority": str(self.authority)} if self.authority else {}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "double",
            # kubectl sends its token over HTTPS only.
            "clusters": [
                {"name": "double", "cluster": {"server": self.url if trust else f"{self.url}/-/{token}", **trust}}
            ],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "user"}}],
        }
        return json.dumps(config)

    # Looking in from the test

    @property
    def kubelet(self) -> Kubelet:
        return self.controllers.kubelet

    def note(self, call: Call) -> None:
        self.requests.append(call)

    def resource(self, plural: str, group: str = "") -> Resource:
        return self.engine.registry.named(plural, group)

    def put(self, obj: Json) -> Json:
        """Create an object from the test's side, past authorization."""
        resource = self.engine.registry.of_kind(obj["apiVersion"], obj["kind"])
        if resource is None:
            raise KeyError(f"{obj['apiVersion']} {obj['kind']}")
        return self.engine.create(resource, obj["metadata"].get("namespace", ""), obj, WriteOptions(manager="test"))

    def objects(self, plural: str, namespace: str = "", *, group: str = "") -> list[Json]:
        """What is stored now. Do not change it."""
        return [item.obj for _, item in self.store.collection(self.resource(plural, group).key).items(namespace)]

    def object(self, plural: str, name: str, namespace: str = "", *, group: str = "") -> Json | None:
        return self.engine.peek(plural, namespace, name, group=group)

    # Inside

    def _schema_changed(self, key: str) -> None:
        for watch in tuple(self.chaos.watches):
            if watch.resource_key == key:
                watch.end()

    def is_ready(self, resource: Resource) -> bool:
        """Whether a custom resource is served yet."""
        definition = self.definitions.of(resource)
        return not self.controllers.has("definitions") or (definition is not None and is_established(definition))

    async def before_create(self, resource: Resource, namespace: str) -> None:
        """A Pod waits a moment for the service account of its new namespace."""
        if resource.key != "pods" or not self.controllers.has("furnish"):
            return
        for _ in range(100):
            if self.engine.peek("serviceaccounts", namespace, "default") is not None:
                return
            if self.engine.peek("namespaces", "", namespace) is None:
                return
            await asyncio.sleep(0.01)

    def _seed(self) -> None:
        options = WriteOptions(manager="kube-apiserver")
        namespaces: Any = self.resource("namespaces")
        for name in ("kube-system", "kube-public", "kube-node-lease", "default"):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            self.engine.create(namespaces, "", body, options)
        for obj in bootstrap():
            self.put(obj)
        for number in range(1, self._nodes + 1):
            labels = {
                "kubernetes.io/hostname": f"node-{number}",
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            }
            body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{number}", "labels": labels}}
            self.engine.create(self.resource("nodes"), "", body, options)
