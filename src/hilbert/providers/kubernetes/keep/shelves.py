"""What all gateways of a cluster must know of tokens: Secrets and custom resources of the platform's namespace.

A shelf is one Secret, with an entry for each document. Entries are changed one by one, so that two gateways never
overwrite each other; what another one changes is heard by a watch.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from hilbert.core.errors import BackendError, BackendUnavailable, QuotaExceeded
from hilbert.core.ports.shelf import Changed, Topic
from hilbert.kit.aio import Clock, cancel, spawn
from hilbert.providers.kubernetes.cluster import kinds, names
from hilbert.providers.kubernetes.cluster.api import JSON_PATCH, Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable
from hilbert.providers.kubernetes.cluster.objects import AccessObject, ShelfObject
from hilbert.providers.kubernetes.cluster.reflector import Key, Reflector

_log = structlog.get_logger("hilbert.kubernetes.shelves")

_SECRETS: Final[Mapping[Topic, str]] = {"tokens": names.SHELF_TOKENS, "issuing_keys": names.SHELF_KEYS}
_MOST_BYTES: Final = 1000 * 1000
"""Of one Secret, which Kubernetes bounds to 1 MiB."""
_UNPROCESSABLE: Final = 422
_ACCESS: Final = (kinds.JWT_ISSUERS, kinds.ACCESS_POLICIES, kinds.ACCESS_ROLES)
_KIND_OF: Final = {
    kinds.JWT_ISSUERS.plural: "JwtIssuer",
    kinds.ACCESS_POLICIES.plural: "Policy",
    kinds.ACCESS_ROLES.plural: "Role",
}


class SecretShelf:
    """One Secret (`Shelf`)."""

    def __init__(self, api: Api, namespace: str, name: str, *, clock: Clock | None = None) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._changed: list[Changed] = []
        self.reflector: Reflector[ShelfObject] = Reflector(
            api, kinds.SHELVES, self._heard, namespace=namespace, fields=f"metadata.name={name}", clock=clock
        )

    async def load(self) -> Mapping[str, bytes]:
        """Waits until the cluster has been read."""
        await self.reflector.synced.wait()
        return _documents(self.reflector.get((self._namespace, self._name)))

    async def put(self, name: str, document: bytes) -> None:
        await self.change({name: document})

    async def renew(self, name: str, document: bytes) -> None:
        replace = [{"op": "replace", "path": f"/data/{_pointer(name)}", "value": _encoded(document)}]
        try:
            await self._patch(replace, form=JSON_PATCH)
        except Refused as exc:
            if exc.code != _UNPROCESSABLE:  # It is not there any more.
                raise BackendError(f"Secret {self._name}: {exc.message}") from exc

    async def change(self, put: Mapping[str, bytes], remove: frozenset[str] = frozenset()) -> None:
        there = self.reflector.get((self._namespace, self._name))
        if there is not None and there.labels.get(names.LABEL_NAME) != names.NAME:
            raise BackendError(
                f"the Secret {self._name} in namespace {self._namespace} is not Hilbert's, and is left alone",
                hint=f"it is, if you label it: kubectl --namespace {self._namespace} label secret {self._name} "
                f"{names.LABEL_NAME}={names.NAME}",
            )
        size = sum(map(len, ((there.data or {}) if there else {}).values())) + sum(map(len, put.values())) * 4 // 3
        if put and size > _MOST_BYTES:
            raise QuotaExceeded(
                f"the Secret {self._name} has no more room: Kubernetes allows 1 MiB",
                hint="revoke tokens that are not used any more",
            )
        data: dict[str, str | None] = {**dict.fromkeys(remove), **{name: _encoded(put[name]) for name in put}}
        try:
            await self._patch({"data": data})
        except Refused as exc:
            hint = "install this version again: it comes with the installation" if exc.is_missing else ""
            raise BackendError(f"Secret {self._name}: {exc.message}", hint=hint) from exc

    def watch(self, changed: Changed) -> None:
        self._changed.append(changed)

    async def _patch(self, change: Any, *, form: str = "application/merge-patch+json") -> None:
        try:
            found = await self._api.patch(kinds.SHELVES, self._name, change, self._namespace, form=form)
        except Unreachable as exc:
            raise BackendUnavailable("the cluster cannot be reached; nothing was changed", detail=str(exc)) from exc
        self.reflector.observe(found)

    def _heard(self, _key: Key, _old: ShelfObject | None, new: ShelfObject | None) -> None:
        for changed in self._changed:
            changed(_documents(new))


class Shelves:
    """Both Secrets, and the objects of `iam.openfaas.com`. Runs from `start` to `stop`."""

    def __init__(self, api: Api, namespace: str, *, clock: Clock | None = None) -> None:
        self._shelves = {topic: SecretShelf(api, namespace, name, clock=clock) for topic, name in _SECRETS.items()}
        self._access: list[Reflector[AccessObject]] = [
            Reflector(api, kind, self._access_changed, namespace=namespace, clock=clock) for kind in _ACCESS
        ]
        self._told: list[Callable[[Sequence[Mapping[str, Any]]], None]] = []
        self._soon: asyncio.Handle | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        reflectors: list[Reflector[Any]] = [*(one.reflector for one in self._shelves.values()), *self._access]
        self._tasks = [spawn(one.run(), name=f"watch {one.kind} {one.namespace}") for one in reflectors]

    async def stop(self) -> None:
        await cancel(*self._tasks)
        self._tasks = []
        if self._soon is not None:
            self._soon.cancel()

    def shelf(self, topic: Topic) -> SecretShelf:
        return self._shelves[topic]

    def watch_access(self, changed: Callable[[Sequence[Mapping[str, Any]]], None]) -> None:
        """Call `changed` with all objects, as they are written, whenever some have changed, and once at the beginning."""
        self._told.append(changed)
        self._access_changed(("", ""), None, None)

    def _access_changed(self, _key: Key, _old: AccessObject | None, _new: AccessObject | None) -> None:
        """Many changes that come at once, as after a list, are told once."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._soon = None
        found = [
            {
                "apiVersion": "iam.openfaas.com/v1",
                "kind": _KIND_OF[reflector.kind.plural],
                "metadata": {"name": one.metadata.name},
                "spec": dict(one.spec or {}),
            }
            for reflector in self._access
            for one in reflector
        ]
        for told in self._told:
            told(found)


def _documents(secret: ShelfObject | None) -> Mapping[str, bytes]:
    found = {}
    for name, text in ((secret.data if secret is not None else None) or {}).items():
        try:
            found[name] = base64.b64decode(text, validate=True)
        except binascii.Error:
            _log.warning("an entry of a Secret is not base64", entry=name[:64])
    return found


def _encoded(document: bytes) -> str:
    return base64.b64encode(document).decode()


def _pointer(name: str) -> str:
    """RFC 6901."""
    return name.replace("~", "~0").replace("/", "~1")
