"""What the users of the chart choose: `values.yaml` and the schema that Helm checks it with. Pure."""

from __future__ import annotations

from typing import Any, Final

from hilbert.providers.kubernetes.install import gateway, monitoring, nats, plan

TEXT: Final = f"""\
# Rights in all namespaces annotated openfaas="1". With false no ClusterRole is made, and the function namespaces are
# those listed below.
clusterRole: true
# Function namespaces to make; the first is the default one. They stay when the release is uninstalled.
namespaces:
  - openfaas-fn
# Install the definitions of Function and Profile, which takes cluster-wide rights of whoever installs. They stay, too.
createDefinitions: true

# The gateway's image, with its tag or digest.
image: {plan.IMAGE}
# Always, IfNotPresent or Never.
imagePullPolicy: {gateway.PULL_POLICY}
# Names of Secrets with credentials of its registry.
imagePullSecrets: []
replicas: 2
resources:
  requests:
    cpu: {gateway.RESOURCES["requests"]["cpu"]}
    memory: {gateway.RESOURCES["requests"]["memory"]}
  limits:
    memory: {gateway.RESOURCES["limits"]["memory"]}
# Further settings of the gateway as environment, such as HILBERT_LOG__LEVEL: debug
settings: {{}}
# Names of Secrets whose keys are such settings, for what must not stand in these values.
settingsFrom: []

# Secret with the keys basic-auth-user and basic-auth-password: credentials of the REST API.
basicAuthSecret: {gateway.CREDENTIALS}
# Make that Secret, with a password, when there is none. It stays when the release is uninstalled.
generateBasicAuth: true

# How the gateway is reached: ClusterIP, NodePort or LoadBalancer.
serviceType: ClusterIP
serviceAnnotations: {{}}
ingress:
  # Make an Ingress for the gateway. Give it TLS: basic authentication is no use without.
  enabled: false
  # IngressClass; empty: the cluster's default one.
  className: ""
  # Host name; it must be given.
  host: ""
  # Secret with a certificate for the host; empty: no TLS here.
  tlsSecret: ""
  annotations: {{}}

serviceMonitor:
  # Make a ServiceMonitor, for a cluster with the Prometheus Operator.
  enabled: false
  # Labels by which your Prometheus finds it, such as release: prometheus
  labels: {{}}
  interval: {monitoring.INTERVAL}
  # Namespace of Prometheus, whose Pods may then read the metrics; empty: only those of the gateway's own namespace.
  prometheusNamespace: ""

nats:
  # Install NATS servers that keep queued calls. To use your own, give settings.HILBERT_QUEUE__NATS_URL instead.
  enabled: false
  # 1 or 3. Each server keeps all calls.
  replicas: {nats.REPLICAS}
  image: {nats.IMAGE}
  # Of each server's volume. Volumes stay when the release is uninstalled.
  storage: {nats.STORAGE}
  # StorageClass; empty: the cluster's default one.
  storageClassName: ""

# Where the gateway runs, and what its Pods carry.
nodeSelector: {{}}
tolerations: []
# Empty: gateways keep to different nodes where there are several.
affinity: {{}}
priorityClassName: ""
podAnnotations: {{}}
"""

_FLAG: Final = {"type": "boolean"}
_STRING: Final = {"type": "string"}
_LABEL: Final = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
_STRINGS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_AMOUNTS: Final = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


SCHEMA: Final[dict[str, Any]] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "Values of the chart hilbert",
    **_object(
        clusterRole=_FLAG,
        namespaces={
            "type": "array",
            "items": {**_LABEL, "not": {"enum": sorted(plan.RESERVED)}},
            "minItems": 1,
            "uniqueItems": True,
        },
        createDefinitions=_FLAG,
        image={"type": "string", "minLength": 1},
        imagePullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
        imagePullSecrets={"type": "array", "items": {"type": "string", "minLength": 1}},
        replicas={"type": "integer", "minimum": 1},
        resources=_object(requests=_AMOUNTS, limits=_AMOUNTS, claims={"type": "array"}),
        settings={"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        settingsFrom={"type": "array", "items": {"type": "string", "minLength": 1}},
        basicAuthSecret={"type": "string", "minLength": 1},
        generateBasicAuth=_FLAG,
        serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        serviceAnnotations=_STRINGS,
        ingress={
            **_object(enabled=_FLAG, className=_STRING, host=_STRING, tlsSecret=_STRING, annotations=_STRINGS),
            "if": {"properties": {"enabled": {"const": True}}, "required": ["enabled"]},
            "then": {"properties": {"host": {"minLength": 1}}, "required": ["host"]},
        },
        serviceMonitor=_object(
            enabled=_FLAG,
            labels=_STRINGS,
            interval={"type": "string", "pattern": "^([0-9]+(ms|[smhd]))+$"},
            prometheusNamespace={"anyOf": [{"const": ""}, _LABEL]},
        ),
        nats=_object(
            enabled=_FLAG,
            replicas={"enum": [1, 3]},
            image={"type": "string", "minLength": 1},
            storage={"type": "string", "pattern": "^[1-9][0-9]*(Mi|Gi|Ti)$"},
            storageClassName=_STRING,
        ),
        nodeSelector=_STRINGS,
        tolerations={"type": "array", "items": {"type": "object"}},
        affinity={"type": "object"},
        priorityClassName=_STRING,
        podAnnotations=_STRINGS,
        # Helm hands a chart the values of its parent here.
        **{"global": {"type": "object"}},
    ),
}
