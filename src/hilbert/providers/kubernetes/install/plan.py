"""What is installed, as groups of manifests: with cluster-wide rights, or with none beyond a list of namespaces. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from hilbert import __version__
from hilbert.core.errors import InvalidSettings
from hilbert.core.values import DEFAULT_NAMESPACE, RESERVED_NAMESPACES, parse_namespace_name
from hilbert.providers.kubernetes.cluster import names
from hilbert.providers.kubernetes.install import crds, gateway, rights
from hilbert.providers.kubernetes.render import tenant

IMAGE: Final = f"hilbert:{__version__}"
RESERVED: Final = RESERVED_NAMESPACES | {"default"}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen."""

    namespace: str = "openfaas"
    """The platform's own namespace."""
    cluster_role: bool = True
    """Cluster-wide rights. Without them the function namespaces are those listed."""
    namespaces: tuple[str, ...] = (DEFAULT_NAMESPACE,)
    """Function namespaces to make; without `cluster_role`, all there are. The first is the default one."""
    image: str = IMAGE
    replicas: int = 2
    service_type: str = "ClusterIP"
    definitions: bool = True
    """Install the custom resource definitions, which takes cluster-wide rights."""


class Plan(msgspec.Struct, frozen=True):
    """Groups of manifests, in the order of applying."""

    platform: list[dict[str, Any]]
    definitions: list[dict[str, Any]]
    rights: list[dict[str, Any]]
    tenants: list[dict[str, Any]]
    gateway: list[dict[str, Any]]

    def every(self) -> list[dict[str, Any]]:
        return [*self.platform, *self.definitions, *self.tenants, *self.rights, *self.gateway]


def make(options: Options) -> Plan:
    """Raises `InvalidSettings`."""
    check(options)
    chosen = gateway.Gateway(
        namespace=options.namespace,
        image=options.image,
        replicas=options.replicas,
        service_type=options.service_type,
        namespaces=() if options.cluster_role else options.namespaces,
        default_namespace=options.namespaces[0],
    )
    granted = (
        rights.cluster_wide(gateway.ACCOUNT, options.namespace)
        if options.cluster_role
        else rights.split(gateway.ACCOUNT, options.namespace, options.namespaces)
    )
    return Plan(
        platform=[platform_namespace(options.namespace)],
        definitions=[*crds.definitions(), *rights.aggregated()] if options.definitions else [],
        rights=granted,
        tenants=tenants(options),
        gateway=gateway.objects(chosen),
    )


def check(options: Options) -> None:
    """Raises `InvalidSettings` for a choice that cannot work."""
    parse_namespace_name(options.namespace)
    if not options.namespaces:
        raise InvalidSettings("name at least one function namespace")
    for name in options.namespaces:
        parse_namespace_name(name)
        if name == options.namespace or name in RESERVED:
            raise InvalidSettings(f"namespace {name} is reserved and cannot hold functions")
    if options.replicas < 1:
        raise InvalidSettings(f"replicas: must be 1 or more, not {options.replicas}")


def platform_namespace(name: str) -> dict[str, Any]:
    labels = {"role": "openfaas-system", "access": "openfaas-system"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {**labels, f"{names.POD_SECURITY_PREFIX}enforce": "restricted"}},
    }


def tenants(options: Options) -> list[dict[str, Any]]:
    """The function namespaces. The gateway makes its tenants complete, and follows their annotations; where it may not,
    all pieces come with the installation."""
    if options.cluster_role:
        return [_namespace(name, {}, {names.NS_TENANT: "managed"}) for name in options.namespaces]
    found: list[dict[str, Any]] = []
    around = tenant.Surroundings(platform_namespace=options.namespace)
    for name in options.namespaces:
        labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, **tenant.pod_security_labels({})}
        found += [_namespace(name, labels, {}), *tenant.pieces(name, {}, around)]
    return found


def _namespace(name: str, labels: dict[str, str], annotations: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, **({"labels": labels} if labels else {})}
    metadata["annotations"] = {names.MARKER: "1", **annotations}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
