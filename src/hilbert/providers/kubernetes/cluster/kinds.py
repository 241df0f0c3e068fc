"""The kinds of object that we speak to the API server about: where they live and how they are read."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import msgspec

from hilbert.providers.kubernetes.cluster.objects import (
    AccessObject,
    Deployment,
    EndpointSlice,
    FunctionObject,
    Lease,
    Manifest,
    NamespaceObject,
    Object,
    Piece,
    Pod,
    ProfileObject,
    SecretObject,
    Service,
    ShelfObject,
)

T = TypeVar("T", bound=Object)


_WHOLE: Final = "application/json"
_METADATA: Final = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


class Kind(Generic[T]):
    """One resource of the API."""

    def __init__(
        self,
        group: str,
        version: str,
        plural: str,
        model: type[T],
        *,
        namespaced: bool = True,
        metadata_only: bool = False,
    ) -> None:
        """Of one with `metadata_only`, lists and watches bring nothing else."""
        self.group = group
        self.plural = plural
        self.namespaced = namespaced
        self.list_form = _METADATA.format("List") if metadata_only else _WHOLE
        """What to accept of a list, and of a watch."""
        self.watch_form = _METADATA.format("") if metadata_only else _WHOLE
        self._root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        self._decoder = msgspec.json.Decoder(model)

    def __repr__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", sub: str = "") -> str:
        """Path of one object, of all in a namespace, or of all."""
        parts = [self._root]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, sub) if part]
        return "/".join(parts)

    def decode(self, body: bytes | msgspec.Raw) -> T:
        """A null counts as what is not there, which is all that it means in Kubernetes.

        Raises `msgspec.DecodeError` and `msgspec.ValidationError`.
        """
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError:
            return self._decoder.decode(msgspec.json.encode(_without_nulls(msgspec.json.decode(body))))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


NAMESPACES: Final = Kind("", "v1", "namespaces", NamespaceObject, namespaced=False)
PODS: Final = Kind("", "v1", "pods", Pod)
SERVICES: Final = Kind("", "v1", "services", Service)
SECRETS: Final = Kind("", "v1", "secrets", SecretObject)
SECRET_NAMES: Final = Kind("", "v1", "secrets", Object, metadata_only=True)
"""Secrets without their values."""
CLAIMS: Final = Kind("", "v1", "persistentvolumeclaims", Object)
QUOTAS: Final = Kind("", "v1", "resourcequotas", Piece)
LIMITS: Final = Kind("", "v1", "limitranges", Piece)
POLICIES: Final = Kind("networking.k8s.io", "v1", "networkpolicies", Piece)
DEPLOYMENTS: Final = Kind("apps", "v1", "deployments", Deployment)
STATEFUL_SETS: Final = Kind("apps", "v1", "statefulsets", Object)
DAEMON_SETS: Final = Kind("apps", "v1", "daemonsets", Object)
JOBS: Final = Kind("batch", "v1", "jobs", Object)
CRON_JOBS: Final = Kind("batch", "v1", "cronjobs", Object)
INGRESSES: Final = Kind("networking.k8s.io", "v1", "ingresses", Object)
CONFIG_MAPS: Final = Kind("", "v1", "configmaps", Object)
SLICES: Final = Kind("discovery.k8s.io", "v1", "endpointslices", EndpointSlice)
LEASES: Final = Kind("coordination.k8s.io", "v1", "leases", Lease)
FUNCTIONS: Final = Kind("openfaas.com", "v1", "functions", FunctionObject)
PROFILES: Final = Kind("openfaas.com", "v1", "profiles", ProfileObject)
SHELVES: Final = Kind("", "v1", "secrets", ShelfObject)
JWT_ISSUERS: Final = Kind("iam.openfaas.com", "v1", "jwtissuers", AccessObject)
ACCESS_POLICIES: Final = Kind("iam.openfaas.com", "v1", "policies", AccessObject)
ACCESS_ROLES: Final = Kind("iam.openfaas.com", "v1", "roles", AccessObject)
EVENTS: Final = Kind("", "v1", "events", Object)
METRICS: Final = Kind("metrics.k8s.io", "v1beta1", "pods", Object)

_BY_KIND: Final[dict[str, Kind[Any]]] = {
    "Namespace": NAMESPACES,
    "Service": SERVICES,
    "Secret": SECRETS,
    "ResourceQuota": QUOTAS,
    "LimitRange": LIMITS,
    "NetworkPolicy": POLICIES,
    "Deployment": DEPLOYMENTS,
    "Lease": LEASES,
    "Function": FUNCTIONS,
}


def of(manifest: Manifest) -> Kind[Any]:
    """The kind of an object that we render."""
    return _BY_KIND[manifest["kind"]]
