"""From a function's spec to its Deployment and Service. Pure: the same input gives the same bytes.

Object names, labels, ports and mounts are those of OpenFaaS's Kubernetes provider, so that dashboards and habits carry
over. The Pod (`pod`) is stricter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from hilbert.core.model import LABEL_FUNCTION, FunctionSpec
from hilbert.providers.kubernetes.cluster import names
from hilbert.providers.kubernetes.cluster.objects import Manifest
from hilbert.providers.kubernetes.render.pod import Rules, pod_annotations, pod_labels, pod_spec
from hilbert.providers.kubernetes.render.profiles import Merged

_HISTORY: Final = 10
_PROGRESS_DEADLINE: Final = 300


class Owner(msgspec.Struct, frozen=True):
    """The Function object that the rendered ones belong to; the cluster removes them after it."""

    uid: str
    generation: int
    rollout: str = ""
    """Changes when the same spec is to be rolled out once more."""


def deployment(
    spec: FunctionSpec,
    *,
    owner: Owner,
    replicas: int,
    pull_secrets: Collection[str] = (),
    profile: Merged = Merged(),  # noqa: B008 - frozen
    namespace_annotations: Mapping[str, str] = {},
    rules: Rules = Rules(),  # noqa: B008 - frozen
) -> Manifest:
    """The Deployment of a function, whole. Raises `InvalidSpec`."""
    name = spec.ref.name
    manifest: Manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(spec, owner),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": _HISTORY,
            "progressDeadlineSeconds": _PROGRESS_DEADLINE,
            "selector": {"matchLabels": {LABEL_FUNCTION: name}},
            "strategy": {"type": "Recreate"}
            if profile.recreate
            else {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {
                    "labels": pod_labels(spec, namespace_annotations, rules),
                    "annotations": {
                        **pod_annotations(spec, rules),
                        names.ANNOTATION_FUNCTION: owner.uid,
                        names.ANNOTATION_GENERATION: str(owner.generation),
                        **({names.ANNOTATION_ROLLOUT: owner.rollout} if owner.rollout else {}),
                    },
                },
                "spec": pod_spec(
                    spec,
                    pull_secrets=pull_secrets,
                    profile=profile,
                    namespace_annotations=namespace_annotations,
                    rules=rules,
                ),
            },
        },
    }
    annotations = manifest["metadata"]["annotations"]
    annotations[names.ANNOTATION_APPLIED] = f"{owner.uid}/{owner.generation}"
    if pull_secrets:
        annotations[names.ANNOTATION_PULL_SECRETS] = ",".join(sorted(pull_secrets))
    annotations[names.ANNOTATION_DIGEST] = digest(manifest)
    return manifest


def service(spec: FunctionSpec, *, owner: Owner) -> Manifest:
    """The Service of a function: what makes the cluster keep its EndpointSlices."""
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(spec, owner),
        "spec": {
            "type": "ClusterIP",
            "selector": {LABEL_FUNCTION: spec.ref.name},
            "ports": [
                {
                    "name": "http",
                    "port": names.FUNCTION_PORT,
                    "targetPort": names.FUNCTION_PORT,
                    "protocol": "TCP",
                }
            ],
        },
    }
    manifest["metadata"]["annotations"] = {names.ANNOTATION_DIGEST: digest(manifest)}
    return manifest


def digest(manifest: Mapping[str, Any]) -> str:
    """A digest of what we render, not counting the replicas, which others may set, nor the owner's generation."""
    body = dict(manifest)
    if "replicas" in body.get("spec", {}):
        body["spec"] = {key: value for key, value in body["spec"].items() if key != "replicas"}
    metadata = dict(body["metadata"])
    metadata["annotations"] = {
        key: value for key, value in metadata.get("annotations", {}).items() if key != names.ANNOTATION_APPLIED
    }
    body["metadata"] = metadata
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()[:16]


def _metadata(spec: FunctionSpec, owner: Owner) -> dict[str, Any]:
    return {
        "name": spec.ref.name,
        "namespace": spec.ref.namespace,
        "labels": {LABEL_FUNCTION: spec.ref.name, names.LABEL_MANAGED_BY: names.MANAGED_BY},
        "annotations": {},
        "ownerReferences": [
            {
                "apiVersion": "openfaas.com/v1",
                "kind": "Function",
                "name": spec.ref.name,
                "uid": owner.uid,
                "controller": True,
            }
        ],
    }
