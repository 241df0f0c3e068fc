"""What Prometheus Operator needs to scrape the gateways: a Service of its own, a ServiceMonitor, and the way in. Pure.

The metrics are on no port of the gateway's own Service, which may be reachable from outside of the cluster.
Source of the kind: https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.ServiceMonitor
"""

from __future__ import annotations

from typing import Any, Final

from hilbert.providers.kubernetes.cluster.names import GATEWAY_APP

NAME: Final = "gateway-metrics"
INTERVAL: Final = "30s"
PROMETHEUS_NAMESPACE: Final = "monitoring"
_PORT: Final = 8082
_SELECTOR: Final = {"app": GATEWAY_APP}
_LABELS: Final = {"app.kubernetes.io/name": "hilbert", "app.kubernetes.io/component": "metrics"}


def objects(namespace: str) -> list[dict[str, Any]]:
    """Service and ServiceMonitor; `namespace` is the gateway's."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(namespace),
            "spec": {
                # Each gateway is scraped for itself.
                "clusterIP": "None",
                "selector": dict(_SELECTOR),
                "ports": [{"name": "metrics", "port": _PORT, "targetPort": "metrics", "protocol": "TCP"}],
            },
        },
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "ServiceMonitor",
            "metadata": _metadata(namespace),
            "spec": {
                "selector": {"matchLabels": dict(_LABELS)},
                "endpoints": [{"port": "metrics", "path": "/metrics", "interval": INTERVAL}],
            },
        },
    ]


def policy(namespace: str, prometheus: str) -> dict[str, Any]:
    """Prometheus may reach the metrics from its namespace, by name; the gateway's own policy lets in its neighbours alone."""
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": prometheus}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(namespace),
        "spec": {
            "podSelector": {"matchLabels": dict(_SELECTOR)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [where], "ports": [{"port": _PORT, "protocol": "TCP"}]}],
        },
    }


def _metadata(namespace: str) -> dict[str, Any]:
    return {"name": NAME, "namespace": namespace, "labels": dict(_LABELS)}
