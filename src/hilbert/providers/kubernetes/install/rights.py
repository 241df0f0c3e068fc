"""Every right that the gateway needs in the cluster, and what for. Roles are made from this table, and from nothing else.

A test compares it with the requests that the provider really makes, in both directions: nothing missing, nothing spare.
Server-side apply of an object that does not exist asks for `create` as well as `patch`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from hilbert.providers.kubernetes.cluster import names

Where = Literal["cluster", "functions", "platform"]
"""`functions`: in every function namespace; `cluster`: there too, but only for an installation with cluster-wide rights;
`platform`: in the namespace of the gateway."""


class Right(msgspec.Struct, frozen=True):
    """Verbs on one resource."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    where: Where
    why: str
    names: tuple[str, ...] = ()
    """The only objects that it is for; empty: all."""


RIGHTS: Final[tuple[Right, ...]] = (
    Right("", "namespaces", ("list", "watch"), "cluster", "find the function namespaces"),
    Right("", "namespaces", ("create", "delete", "patch"), "cluster", "make, change and remove tenants"),
    Right("", "namespaces", ("get",), "functions", "look at one namespace by its name"),
    Right("openfaas.com", "functions", ("create", "delete", "get", "list", "patch", "watch"), "functions", "the specs"),
    Right("openfaas.com", "functions/status", ("patch",), "functions", "tell how functions are"),
    Right(
        "apps",
        "deployments",
        ("create", "delete", "get", "list", "patch", "watch"),
        "functions",
        "run and scale functions",
    ),
    Right("", "services", ("create", "delete", "get", "list", "patch", "watch"), "functions", "make EndpointSlices"),
    Right("discovery.k8s.io", "endpointslices", ("list", "watch"), "functions", "find ready replicas"),
    Right("", "pods", ("list", "watch"), "functions", "say why a replica is not ready"),
    Right("", "pods", ("patch",), "functions", "hurry changed secrets; say which replicas have work"),
    Right("", "pods/log", ("get",), "functions", "show logs"),
    Right(
        "",
        "secrets",
        ("create", "delete", "get", "list", "patch", "watch"),
        "functions",
        "manage secrets; see their types; hear of changes",
    ),
    Right("", "events", ("create", "patch"), "functions", "tell why functions are scaled"),
    Right("metrics.k8s.io", "pods", ("list",), "functions", "show what functions use"),
    Right("", "resourcequotas", ("create", "delete", "list", "patch", "watch"), "cluster", "keep tenants complete"),
    Right("", "limitranges", ("create", "delete", "list", "patch", "watch"), "cluster", "keep tenants complete"),
    Right(
        "networking.k8s.io",
        "networkpolicies",
        ("create", "delete", "list", "patch", "watch"),
        "cluster",
        "keep tenants complete",
    ),
    *(
        Right(group, resource, ("list",), "cluster", "refuse to delete a namespace that holds others' things")
        for group, resource in (
            ("", "configmaps"),
            ("", "persistentvolumeclaims"),
            ("apps", "daemonsets"),
            ("apps", "statefulsets"),
            ("batch", "cronjobs"),
            ("batch", "jobs"),
            ("networking.k8s.io", "ingresses"),
        )
    ),
    Right("openfaas.com", "profiles", ("list", "watch"), "platform", "read profiles"),
    Right("iam.openfaas.com", "jwtissuers", ("list", "watch"), "platform", "know whose tokens are believed"),
    Right("iam.openfaas.com", "policies", ("list", "watch"), "platform", "know what they allow"),
    Right("iam.openfaas.com", "roles", ("list", "watch"), "platform", "know whom"),
    Right(
        "", "secrets", ("list", "patch", "watch"), "platform", "keep hashes of tokens, and signing keys", names.SHELVES
    ),
    Right("coordination.k8s.io", "leases", ("create", "get", "update"), "platform", "agree on who leads"),
    Right("coordination.k8s.io", "leases", ("delete", "list"), "platform", "sum the counts of calls over gateways"),
)


def rules(*wheres: Where) -> list[dict[str, Any]]:
    """RBAC rules, one a resource, in a stable order."""
    merged: dict[tuple[str, str, tuple[str, ...]], set[str]] = {}
    for right in RIGHTS:
        if right.where in wheres:
            merged.setdefault((right.group, right.resource, right.names), set()).update(right.verbs)
    return [
        {
            "apiGroups": [group],
            "resources": [resource],
            **({"resourceNames": list(only)} if only else {}),
            "verbs": sorted(verbs),
        }
        for (group, resource, only), verbs in sorted(merged.items())
    ]


_LABELS: Final = {names.LABEL_NAME: names.NAME}
_FUNCTIONS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_READ: Final = ("get", "list", "watch")


def aggregated() -> list[dict[str, Any]]:
    """ClusterRoles that Kubernetes adds to `admin`, `edit` and `view`, so that these cover Functions, too.

    Whoever owns a namespace can then write Functions there, and install Hilbert without cluster-wide rights: nobody may
    grant what they do not hold, and `admin` holds by itself neither Functions nor what a metrics server brings.
    """
    owner: dict[tuple[str, str], set[str]] = {}
    for rule in rules("functions", "platform"):
        owner.setdefault((rule["apiGroups"][0], rule["resources"][0]), set()).update(rule["verbs"])
    for key in (("openfaas.com", "functions"), ("openfaas.com", "profiles")):
        owner[key] = {*_FUNCTIONS, *owner.get(key, ())}
    return [
        _added("admin", owner),
        _added("edit", {("openfaas.com", "functions"): set(_FUNCTIONS), ("openfaas.com", "profiles"): set(_READ)}),
        _added("view", {("openfaas.com", "functions"): set(_READ), ("openfaas.com", "profiles"): set(_READ)}),
    ]


def _added(role: str, granted: Mapping[tuple[str, str], Collection[str]]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {
            "name": f"openfaas-functions-{role}",
            "labels": {**_LABELS, f"rbac.authorization.k8s.io/aggregate-to-{role}": "true"},
        },
        "rules": [
            {"apiGroups": [group], "resources": [resource], "verbs": sorted(verbs)}
            for (group, resource), verbs in sorted(granted.items())
        ],
    }


def cluster_wide(account: str, platform: str) -> list[dict[str, Any]]:
    """A ClusterRole for all function namespaces, and a Role in the platform's own."""
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": f"{platform}-hilbert", "labels": _LABELS},
            "rules": rules("cluster", "functions"),
        },
        _binding("ClusterRoleBinding", f"{platform}-hilbert", "", "ClusterRole", account, platform),
        *_role("hilbert", platform, rules("platform"), account, platform),
    ]


def split(account: str, platform: str, namespaces: Sequence[str]) -> list[dict[str, Any]]:
    """Roles in the listed namespaces and the platform's own; nothing that reaches beyond them."""
    found: list[dict[str, Any]] = []
    for namespace in namespaces:
        own = [
            {**rule, "resourceNames": [namespace]} if rule["resources"] == ["namespaces"] else rule
            for rule in rules("functions")
        ]
        found += _role("hilbert-functions", namespace, own, account, platform)
    return [*found, *_role("hilbert", platform, rules("platform"), account, platform)]


def _role(
    name: str, namespace: str, granted: Iterable[dict[str, Any]], account: str, platform: str
) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": name, "namespace": namespace, "labels": _LABELS},
            "rules": list(granted),
        },
        _binding("RoleBinding", name, namespace, "Role", account, platform),
    ]


def _binding(kind: str, name: str, namespace: str, role: str, account: str, platform: str) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {}), "labels": _LABELS},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": platform}],
    }
