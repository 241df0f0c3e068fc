"""The gateway's own objects: Deployment, Service, disruption budget, network policy, service account. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from hilbert.core.settings import GatewaySettings
from hilbert.providers.kubernetes.cluster.names import GATEWAY_APP, LABEL_NAME, NAME, SHELVES

ACCOUNT: Final = "hilbert"
CREDENTIALS: Final = "basic-auth"
"""Secret with `basic-auth-user` and `basic-auth-password`."""
PULL_POLICY: Final = "IfNotPresent"
RESOURCES: Final = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
_USER: Final = 10001
_PORT: Final = 8080
_METRICS_PORT: Final = 8082
_LEAVE_SECONDS: Final = 5
"""Between the Pod's end in all load balancers' lists being begun and the gateway being told to stop."""
_STATE: Final = "/var/lib/hilbert"
_RUN: Final = "/run/hilbert"
_SELECTOR: Final = {"app": GATEWAY_APP}


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen about the gateway."""

    namespace: str = "openfaas"
    image: str
    replicas: int = 2
    service_type: str = "ClusterIP"
    namespaces: tuple[str, ...] = ()
    """Function namespaces without cluster-wide rights; empty: cluster-wide."""
    default_namespace: str = "openfaas-fn"


def objects(gateway: Gateway) -> list[dict[str, Any]]:
    """All of the gateway, in the order of applying."""
    shelves = [_shelf(gateway, name) for name in SHELVES]
    return [_account(gateway), *shelves, _service(gateway), _deployment(gateway), _budget(gateway), _policy(gateway)]


def environment(gateway: Gateway) -> dict[str, str]:
    """The gateway's settings, as environment."""
    return {
        "HILBERT_GATEWAY__HOST": "0.0.0.0",  # noqa: S104 - inside a Pod, behind a Service
        "HILBERT_GATEWAY__METRICS_HOST": "0.0.0.0",  # noqa: S104
        "HILBERT_GATEWAY__SECRET_MOUNT_PATH": "/var/secrets",
        "HILBERT_KUBERNETES__NAMESPACES": ",".join(gateway.namespaces),
        "HILBERT_KUBERNETES__PLATFORM_NAMESPACE": gateway.namespace,
        "HILBERT_PROVIDER__DEFAULT_NAMESPACE": gateway.default_namespace,
        "HILBERT_PROVIDER__NAME": "kubernetes",
        # Inside the mounts: an emptyDir belongs to root, and the gateway wants folders of its own user's.
        "HILBERT_RUN_DIR": f"{_RUN}/gateway",
        "HILBERT_STATE_DIR": f"{_STATE}/gateway",
    }


def _metadata(gateway: Gateway, name: str = GATEWAY_APP) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": gateway.namespace,
        "labels": {**_SELECTOR, LABEL_NAME: NAME, "app.kubernetes.io/component": "gateway"},
    }


def _account(gateway: Gateway) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(gateway, ACCOUNT),
        "automountServiceAccountToken": False,
    }


def _shelf(gateway: Gateway, name: str) -> dict[str, Any]:
    """Without data: what the gateway keeps there stays when the installation is applied again."""
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": _metadata(gateway, name)}


def _service(gateway: Gateway) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(gateway),
        "spec": {
            "type": gateway.service_type,
            "selector": _SELECTOR,
            "ports": [{"name": "http", "port": _PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _deployment(gateway: Gateway) -> dict[str, Any]:
    mounts = {"state": _STATE, "run": _RUN, "temp": "/tmp"}  # noqa: S108 - inside the Pod
    container = {
        "name": GATEWAY_APP,
        "image": gateway.image,
        "imagePullPolicy": PULL_POLICY,
        "args": ["up", "--only-gateway"],
        "env": [{"name": key, "value": value} for key, value in environment(gateway).items()],
        "envFrom": [],
        "ports": [
            {"name": "http", "containerPort": _PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": _METRICS_PORT, "protocol": "TCP"},
        ],
        "startupProbe": _probe("/healthz", period=1, failures=120),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        # Patient: workers go on with the calls while a control process that died reads the cluster again.
        "readinessProbe": _probe("/readyz", period=2, failures=15),
        "lifecycle": {"preStop": {"sleep": {"seconds": _LEAVE_SECONDS}}},
        "resources": RESOURCES,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *({"name": name, "mountPath": path} for name, path in mounts.items()),
            {"name": "auth", "mountPath": "/var/secrets", "readOnly": True},
        ],
    }
    grace = round(GatewaySettings().drain_timeout.seconds) + _LEAVE_SECONDS + 10
    annotations = {"prometheus.io.scrape": "true", "prometheus.io.port": str(_METRICS_PORT)}
    apart = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": _SELECTOR}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(gateway),
        "spec": {
            "replicas": gateway.replicas,
            "selector": {"matchLabels": _SELECTOR},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": dict(_metadata(gateway)["labels"]), "annotations": annotations},
                "spec": {
                    "serviceAccountName": ACCOUNT,
                    "automountServiceAccountToken": True,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": grace,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": _USER,
                        "runAsGroup": _USER,
                        "fsGroup": _USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "affinity": {
                        "podAntiAffinity": {
                            "preferredDuringSchedulingIgnoredDuringExecution": [
                                {"weight": 100, "podAffinityTerm": apart}
                            ]
                        }
                    },
                    "containers": [container],
                    "volumes": [
                        *({"name": name, "emptyDir": {}} for name in mounts),
                        {"name": "auth", "secret": {"secretName": CREDENTIALS, "defaultMode": 0o440}},
                    ],
                },
            },
        },
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    get = {"path": path, "port": "http", "scheme": "HTTP"}
    return {"httpGet": get, "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures}


def _budget(gateway: Gateway) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(gateway),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _SELECTOR}},
    }


def _policy(gateway: Gateway) -> dict[str, Any]:
    """Calls from anywhere; metrics from the platform's own namespace only. The gateway itself may call out."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(gateway),
        "spec": {
            "podSelector": {"matchLabels": _SELECTOR},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"ports": [{"port": _PORT, "protocol": "TCP"}]},
                {"from": [{"podSelector": {}}], "ports": [{"port": _METRICS_PORT, "protocol": "TCP"}]},
            ],
            "egress": [{}],
        },
    }
