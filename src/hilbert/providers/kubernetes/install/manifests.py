"""What the manifests of an installation are in the API. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.objects import Object

_GROUPS: Final = {
    "CustomResourceDefinition": ("apiextensions.k8s.io", "v1", "customresourcedefinitions", False),
    "ClusterRole": ("rbac.authorization.k8s.io", "v1", "clusterroles", False),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", False),
    "Role": ("rbac.authorization.k8s.io", "v1", "roles", True),
    "RoleBinding": ("rbac.authorization.k8s.io", "v1", "rolebindings", True),
    "ServiceAccount": ("", "v1", "serviceaccounts", True),
    "PodDisruptionBudget": ("policy", "v1", "poddisruptionbudgets", True),
}


def kind_of(manifest: Mapping[str, Any]) -> kinds.Kind[Any]:
    known = _GROUPS.get(manifest["kind"])
    if known is None:
        return kinds.of(dict(manifest))
    group, version, plural, namespaced = known
    return kinds.Kind(group, version, plural, Object, namespaced=namespaced)


def shown(manifest: Mapping[str, Any]) -> str:
    metadata = manifest["metadata"]
    where = f" in {metadata['namespace']}" if "namespace" in metadata else ""
    return f"{manifest['kind']} {metadata['name']}{where}"
