"""The custom resource definitions: Function and Profile (`openfaas.com/v1`), JwtIssuer, Policy and Role (`iam.openfaas.com/v1`).

The schemas are OpenFaaS's, so that its objects and tools work; `limits` and `requests` take extended resources, too.
"""

from __future__ import annotations

from typing import Any, Final

_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_TEXT_MAP: Final = {"type": "object", "additionalProperties": _TEXT}
_FREE: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_FREE_LIST: Final = {"type": "array", "items": _FREE}
_COUNT: Final = {"type": "integer", "format": "int32"}
_GENERATION: Final = {"type": "integer", "format": "int64"}
_RESOURCES: Final = {
    "type": "object",
    "properties": {"cpu": _TEXT, "memory": _TEXT},
    "x-kubernetes-preserve-unknown-fields": True,
}
_CONDITION: Final = {
    "type": "object",
    "required": ["type", "status"],
    "properties": {
        "type": _TEXT,
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": _TEXT,
        "message": _TEXT,
        "observedGeneration": _GENERATION,
        "lastTransitionTime": {"type": "string", "format": "date-time"},
    },
}

_FUNCTION_SPEC: Final = {
    "type": "object",
    "required": ["name", "image"],
    "properties": {
        "name": _TEXT,
        "image": _TEXT,
        "handler": _TEXT,
        "annotations": _TEXT_MAP,
        "labels": _TEXT_MAP,
        "environment": _TEXT_MAP,
        "constraints": _TEXTS,
        "secrets": _TEXTS,
        "limits": _RESOURCES,
        "requests": _RESOURCES,
        "readOnlyRootFilesystem": {"type": "boolean"},
    },
}
_FUNCTION_STATUS: Final = {
    "type": "object",
    "properties": {
        "conditions": {
            "type": "array",
            "items": _CONDITION,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
        "observedGeneration": _GENERATION,
        "replicas": _COUNT,
        "availableReplicas": _COUNT,
        "unavailableReplicas": _COUNT,
        "profiles": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "profileRef": {"type": "object", "properties": {"name": _TEXT, "namespace": _TEXT}},
                    "observedGeneration": _GENERATION,
                },
            },
        },
    },
}
_COLUMNS: Final = (
    ("Image", "string", ".spec.image"),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
    ("Healthy", "string", '.status.conditions[?(@.type=="Healthy")].status'),
    ("Replicas", "integer", ".status.replicas"),
    ("Available", "integer", ".status.availableReplicas"),
    ("Unavailable", "integer", ".status.unavailableReplicas"),
)

_PROFILE_SPEC: Final = {
    "type": "object",
    "properties": {
        "podSecurityContext": _FREE,
        "tolerations": _FREE_LIST,
        "affinity": _FREE,
        "runtimeClassName": _TEXT,
        "topologySpreadConstraints": _FREE_LIST,
        "dnsPolicy": _TEXT,
        "dnsConfig": _FREE,
        "resources": _FREE,
        "strategy": _FREE,
        "priorityClassName": _TEXT,
    },
}


_CONDITIONS: Final = {
    "type": "object",
    "additionalProperties": {"type": "object", "additionalProperties": _TEXTS},
}
_ISSUER_SPEC: Final = {
    "type": "object",
    "required": ["aud", "iss"],
    "properties": {"iss": _TEXT, "aud": _TEXTS, "issInternal": _TEXT, "tokenExpiry": _TEXT},
}
_POLICY_SPEC: Final = {
    "type": "object",
    "required": ["statement"],
    "properties": {
        "statement": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["action", "effect", "resource", "sid"],
                "properties": {
                    "sid": _TEXT,
                    "effect": _TEXT,
                    "action": _TEXTS,
                    "resource": _TEXTS,
                    "condition": _CONDITIONS,
                },
            },
        }
    },
}
_ROLE_SPEC: Final = {
    "type": "object",
    "properties": {
        "policy": _TEXTS,
        "principal": {"type": "object", "additionalProperties": _TEXTS},
        "condition": _CONDITIONS,
    },
}
_IAM: Final = "iam.openfaas.com"


def definitions() -> list[dict[str, Any]]:
    """All definitions."""
    columns = [{"name": name, "type": kind, "jsonPath": path} for name, kind, path in _COLUMNS]
    return [
        _definition("Function", _FUNCTION_SPEC, status=_FUNCTION_STATUS, columns=columns),
        _definition("Profile", _PROFILE_SPEC),
        _definition("JwtIssuer", _ISSUER_SPEC, group=_IAM),
        _definition("Policy", _POLICY_SPEC, group=_IAM),
        _definition("Role", _ROLE_SPEC, group=_IAM),
    ]


def _definition(
    kind: str,
    spec: dict[str, Any],
    *,
    status: dict[str, Any] | None = None,
    columns: list[dict[str, str]] | None = None,
    group: str = "openfaas.com",
) -> dict[str, Any]:
    singular = kind.lower()
    plural = f"{singular[:-1]}ies" if singular.endswith("y") else f"{singular}s"
    properties = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": {"type": "object"}, "spec": spec}
    version: dict[str, Any] = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "required": ["spec"],
                "properties": {**properties, "status": status} if status else properties,
            }
        },
    }
    if status:
        version["subresources"] = {"status": {}}
    if columns:
        version["additionalPrinterColumns"] = columns
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": singular},
            "versions": [version],
        },
    }
