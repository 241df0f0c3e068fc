"""The NATS servers that keep queued calls, for a cluster that has none: StatefulSet, Services, what may reach them. Pure.

Source of the settings: https://docs.nats.io/running-a-nats-service/configuration
"""

from __future__ import annotations

from typing import Any, Final

from hilbert.providers.kubernetes.cluster.names import GATEWAY_APP

NAME: Final = "nats"
IMAGE: Final = "nats:2.14-alpine"
CREDENTIALS: Final = "nats-auth"
"""Secret with `password`: letters and digits, the first a letter, since it stands in addresses and in NATS's own format."""
REPLICAS: Final = 3
STORAGE: Final = "10Gi"
_USER: Final = 1000
_CLIENTS: Final = 4222
_ROUTES: Final = 6222
_MONITOR: Final = 8222
_DATA: Final = "/data"
_CONFIG: Final = "/etc/nats"
_SELECTOR: Final = {"app": NAME}
_LABELS: Final = {**_SELECTOR, "app.kubernetes.io/name": "hilbert", "app.kubernetes.io/component": "nats"}

_SINGLE: Final = f"""\
port: {_CLIENTS}
http_port: {_MONITOR}
server_name: $POD_NAME
max_payload: 8MB
authorization {{ user: hilbert, password: $NATS_PASSWORD }}
jetstream {{ store_dir: "{_DATA}", sync_interval: always }}
"""
"""What was acknowledged must be on disk: `sync_interval: always`. By default NATS syncs minutes later."""
_CLUSTER: Final = (
    _SINGLE
    + f"""\
cluster {{
  name: hilbert
  port: {_ROUTES}
  authorization {{ user: hilbert, password: $NATS_PASSWORD }}
  routes: $NATS_ROUTES
}}
"""
)


def objects(namespace: str) -> list[dict[str, Any]]:
    """All of it, without the Secret; `namespace` is the gateway's."""
    return [_config(namespace), _service(namespace), _servers(namespace), _budget(namespace), _policy(namespace)]


def environment(replicas: int = REPLICAS) -> list[dict[str, Any]]:
    """How gateways reach it: entries for their container."""
    return [
        _password(),
        {"name": "HILBERT_QUEUE__NATS_URL", "value": f"nats://hilbert:$(NATS_PASSWORD)@{NAME}:{_CLIENTS}"},
        {"name": "HILBERT_QUEUE__NATS_REPLICAS", "value": str(replicas)},
    ]


def routes(replicas: int) -> list[str]:
    """Where the servers of a cluster find each other."""
    return [f"nats-route://hilbert:$(NATS_PASSWORD)@{NAME}-{number}.{NAME}:{_ROUTES}" for number in range(replicas)]


def config_file(replicas: int) -> str:
    return f"{_CONFIG}/{'single' if replicas == 1 else 'cluster'}.conf"


def _password() -> dict[str, Any]:
    return {"name": "NATS_PASSWORD", "valueFrom": {"secretKeyRef": {"name": CREDENTIALS, "key": "password"}}}


def _config(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(namespace),
        "data": {"single.conf": _SINGLE, "cluster.conf": _CLUSTER},
    }


def _service(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(namespace),
        "spec": {
            "clusterIP": "None",
            "selector": dict(_SELECTOR),
            # Servers find each other before they are ready.
            "publishNotReadyAddresses": True,
            "ports": [
                {"name": "clients", "port": _CLIENTS, "targetPort": "clients", "protocol": "TCP"},
                {"name": "routes", "port": _ROUTES, "targetPort": "routes", "protocol": "TCP"},
            ],
        },
    }


def _servers(namespace: str) -> dict[str, Any]:
    apart = {
        "weight": 100,
        "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": dict(_SELECTOR)}},
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [apart]}},
        "containers": [_container()],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _metadata(namespace),
        "spec": {
            "serviceName": NAME,
            "replicas": REPLICAS,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": dict(_SELECTOR)},
            "template": {"metadata": {"labels": dict(_LABELS)}, "spec": pod},
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": STORAGE}},
                    },
                }
            ],
        },
    }


def _container() -> dict[str, Any]:
    return {
        "name": NAME,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--config", config_file(REPLICAS)],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            _password(),
            {"name": "NATS_ROUTES", "value": "[" + ", ".join(f'"{route}"' for route in routes(REPLICAS)) + "]"},
        ],
        "ports": [
            {"name": "clients", "containerPort": _CLIENTS, "protocol": "TCP"},
            {"name": "routes", "containerPort": _ROUTES, "protocol": "TCP"},
            {"name": "monitor", "containerPort": _MONITOR, "protocol": "TCP"},
        ],
        # A server that has fallen behind is alive, and not ready.
        "livenessProbe": _probe("/healthz?js-server-only=true", failures=6),
        "readinessProbe": _probe("/healthz?js-enabled-only=true", failures=3),
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": _DATA},
            {"name": "config", "mountPath": _CONFIG, "readOnly": True},
        ],
    }


def _probe(path: str, *, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "monitor", "scheme": "HTTP"},
        "initialDelaySeconds": 5,
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _budget(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(namespace),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": dict(_SELECTOR)}},
    }


def _policy(namespace: str) -> dict[str, Any]:
    """Gateways and the servers themselves may come in; functions never."""
    gateways, servers = ({"podSelector": {"matchLabels": {"app": app}}} for app in (GATEWAY_APP, NAME))
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(namespace),
        "spec": {
            "podSelector": {"matchLabels": dict(_SELECTOR)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [gateways], "ports": [{"port": _CLIENTS, "protocol": "TCP"}]},
                {"from": [servers], "ports": [{"port": _ROUTES, "protocol": "TCP"}]},
            ],
        },
    }


def _metadata(namespace: str) -> dict[str, Any]:
    return {"name": NAME, "namespace": namespace, "labels": dict(_LABELS)}
