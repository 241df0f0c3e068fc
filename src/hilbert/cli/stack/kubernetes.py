"""Deployments as Kubernetes objects: OpenFaaS's custom resource, and the Service of Knative Serving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hilbert.wire.function import Deployment, ResourceAmounts

_SECRETS: Final = "/var/openfaas/secrets"
_SCALE: Final = {
    "com.openfaas.scale.min": "autoscaling.knative.dev/min-scale",
    "com.openfaas.scale.max": "autoscaling.knative.dev/max-scale",
}
"""Labels of OpenFaaS with the annotations of Knative's autoscaler that mean the same."""


def function_object(deployment: Deployment, namespace: str) -> dict[str, object]:
    """`openfaas.com/v1`, kind `Function`. `fprocess` goes into the environment, where its schema has it."""
    optional: dict[str, object] = {
        "labels": dict(deployment.labels),
        "annotations": dict(deployment.annotations),
        "environment": _environment(deployment),
        "constraints": list(deployment.constraints),
        "secrets": list(deployment.secrets),
        "limits": _amounts(deployment.limits),
        "requests": _amounts(deployment.requests),
        "readOnlyRootFilesystem": deployment.read_only_root_filesystem,
    }
    return {
        "apiVersion": "openfaas.com/v1",
        "kind": "Function",
        "metadata": {"name": deployment.service, "namespace": namespace},
        "spec": {"name": deployment.service, "image": deployment.image, **_given(optional)},
    }


def knative_service(deployment: Deployment, namespace: str) -> dict[str, object]:
    """`serving.knative.dev/v1`, kind `Service`. Constraints have no place in it: Knative chooses the node.

    Secrets are files where functions look for them, so each one's key is its name, as OpenFaaS makes them.
    """
    name = deployment.service
    mounts: list[object] = []
    volumes: list[object] = []
    if deployment.secrets:
        sources = [{"secret": {"name": secret}} for secret in deployment.secrets]
        mounts.append({"name": "secrets", "mountPath": _SECRETS, "readOnly": True})
        volumes.append({"name": "secrets", "projected": {"sources": sources}})
    if deployment.read_only_root_filesystem:
        mounts.append({"name": "tmp", "mountPath": "/tmp"})  # noqa: S108 - of the container
        volumes.append({"name": "tmp", "emptyDir": {}})
    scale = {_SCALE[label]: value for label, value in deployment.labels.items() if label in _SCALE}
    container: dict[str, object] = {
        "image": deployment.image,
        "env": [{"name": key, "value": value} for key, value in sorted(_environment(deployment).items())],
        "resources": _given({"limits": _amounts(deployment.limits), "requests": _amounts(deployment.requests)}),
        "securityContext": {"readOnlyRootFilesystem": True} if deployment.read_only_root_filesystem else {},
        "volumeMounts": mounts,
    }
    labels = {**deployment.labels, "faas_function": name}
    annotations = dict(deployment.annotations)
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": _given({"name": name, "namespace": namespace, "labels": labels, "annotations": annotations}),
        "spec": {
            "template": {
                "metadata": _given({"labels": dict(labels), "annotations": {**annotations, **scale}}),
                "spec": _given({"containers": [_given(container)], "volumes": volumes}),
            }
        },
    }


def _environment(deployment: Deployment) -> dict[str, str]:
    process = {"fprocess": deployment.env_process} if deployment.env_process else {}
    return {**deployment.env_vars, **process}


def _amounts(amounts: ResourceAmounts | None) -> dict[str, object]:
    return {} if amounts is None else _given({"memory": amounts.memory, "cpu": amounts.cpu})


def _given(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields that say something."""
    return {key: value for key, value in fields.items() if value}
