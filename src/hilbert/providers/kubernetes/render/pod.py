"""The Pod of a function: labels, annotations and spec. Pure.

It is in the form that Pod Security `restricted` admits, has no service-account token and no service links, and takes only
harmless annotations along.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from hilbert.core.errors import HilbertError, InvalidSpec
from hilbert.core.model import ANNOTATION_NETWORK, LABEL_FUNCTION, FunctionSpec, Resources
from hilbert.core.settings import KubernetesSettings, ProviderSettings
from hilbert.core.values import Duration, Quantity
from hilbert.providers import quota
from hilbert.providers.kubernetes.cluster import names
from hilbert.providers.kubernetes.render import probes
from hilbert.providers.kubernetes.render.profiles import Merged

_PLAIN_LABELS_REFUSED: Final = frozenset({"pod-template-hash", "controller-revision-hash"})
_MOST_GRACE: Final = 24 * 3600


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the installation says about every Pod."""

    image_pull_policy: str = "Always"
    non_root: bool = True
    tmp_bytes: int = 2**30
    pod_annotations: tuple[str, ...] = ()
    """Prefixes of annotations and labels that Pods get too."""
    grace: int = 30
    """Seconds."""
    drain: int = 1
    """Whole seconds between leaving the routes and being told to stop; the API server takes no fractions."""

    @classmethod
    def of(cls, kubernetes: KubernetesSettings, provider: ProviderSettings) -> Rules:
        return cls(
            image_pull_policy=kubernetes.image_pull_policy,
            non_root=kubernetes.non_root,
            tmp_bytes=kubernetes.tmp_size.units,
            pod_annotations=tuple(part.strip() for part in kubernetes.pod_annotations.split(",") if part.strip()),
            grace=math.ceil(provider.grace.seconds),
            drain=math.ceil(provider.drain_delay.seconds),
        )


def pod_labels(spec: FunctionSpec, namespace_annotations: Mapping[str, str], rules: Rules) -> dict[str, str]:
    """Labels without a prefix are data; those with one can steer the cluster, as annotations can.

    Raises `InvalidSpec` for one that the cluster itself sets.
    """
    for key in spec.labels:
        if key in _PLAIN_LABELS_REFUSED:
            raise InvalidSpec(f"label {key} is reserved by Kubernetes; choose another name")
    labels = {
        key: value
        for key, value in spec.labels.items()
        if "/" not in key or key.partition("/")[0] in rules.pod_annotations
    }
    labels[LABEL_FUNCTION] = spec.ref.name
    labels.pop(names.LABEL_NETWORK, None)
    if "none" in (spec.annotations.get(ANNOTATION_NETWORK), namespace_annotations.get(ANNOTATION_NETWORK)):
        labels[names.LABEL_NETWORK] = "none"
    return labels


def pod_annotations(spec: FunctionSpec, rules: Rules) -> dict[str, str]:
    """Annotations without a prefix are data; those with one can steer the cluster, its network or its cloud."""
    annotations = {
        key: value
        for key, value in spec.annotations.items()
        if "/" not in key or key.partition("/")[0] in rules.pod_annotations
    }
    annotations.setdefault(names.ANNOTATION_SCRAPE, "false")
    return annotations


def pod_spec(
    spec: FunctionSpec,
    *,
    pull_secrets: Collection[str],
    profile: Merged,
    namespace_annotations: Mapping[str, str],
    rules: Rules,
) -> dict[str, Any]:
    mounted = [name for name in sorted(spec.secrets) if name not in pull_secrets]
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    if mounted:
        volume = _volume_name(spec.ref.name, "projected-secrets")
        sources = [{"secret": {"name": name}} for name in mounted]
        volumes.append({"name": volume, "projected": {"sources": sources, "defaultMode": 0o444}})
        mounts.append({"name": volume, "mountPath": names.SECRETS_PATH, "readOnly": True})
    if spec.read_only_root:
        volumes.append({"name": "temp", "emptyDir": {"sizeLimit": str(rules.tmp_bytes)}})
        mounts.append({"name": "temp", "mountPath": "/tmp"})  # noqa: S108 - a mount of the function's own
    container: dict[str, Any] = {
        "name": spec.ref.name,
        "image": spec.image,
        "imagePullPolicy": rules.image_pull_policy,
        "ports": [{"name": "http", "containerPort": names.FUNCTION_PORT, "protocol": "TCP"}],
        "env": _environment(spec),
        "livenessProbe": probes.liveness(spec.annotations),
        "readinessProbe": probes.readiness(spec.annotations),
        "resources": _resources(spec, profile, namespace_annotations),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": spec.read_only_root,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if mounts:
        container["volumeMounts"] = mounts
    if rules.drain:
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": rules.drain}}}
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _grace(spec, rules),
        "securityContext": {
            **({"runAsNonRoot": True, "runAsUser": names.NON_ROOT_USER} if rules.non_root else {}),
            "seccompProfile": {"type": "RuntimeDefault"},
            **profile.security,
        },
        "containers": [container],
        **profile.pod,
    }
    if volumes:
        pod["volumes"] = volumes
    if pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in sorted(pull_secrets)]
    if selector := _node_selector(spec, namespace_annotations):
        pod["nodeSelector"] = selector
    if account := _service_account(spec, namespace_annotations):
        pod["serviceAccountName"] = account
        pod["automountServiceAccountToken"] = True
    return pod


def _environment(spec: FunctionSpec) -> list[dict[str, str]]:
    """By name. Every `$` is doubled, since the kubelet would expand `$(NAME)` and halve `$$`; no other provider does."""
    env = dict(spec.env)
    if spec.process:
        env["fprocess"] = spec.process
    env["OPENFAAS_NAME"] = spec.ref.name
    env["OPENFAAS_NAMESPACE"] = spec.ref.namespace
    return [{"name": key, "value": env[key].replace("$", "$$")} for key in sorted(env)]


def _resources(spec: FunctionSpec, profile: Merged, namespace_annotations: Mapping[str, str]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for kind, own in (("limits", spec.limits), ("requests", spec.requests)):
        amounts = {**profile.resources.get(kind, {}), **_amounts(own), **profile.imposed.get(kind, {})}
        if amounts:
            merged[kind] = amounts
    # What a LimitRange would fill in: not every namespace may have one, since it binds what is not ours, too.
    ranges = quota.limit_range(namespace_annotations)
    for resource, amount in ranges.get("defaultRequest", {}).items():
        if not any(resource in merged.get(kind, {}) for kind in ("limits", "requests")):
            merged.setdefault("requests", {})[resource] = amount
    for resource, amount in ranges.get("default", {}).items():
        merged.setdefault("limits", {}).setdefault(resource, amount)
    for key, request in merged.get("requests", {}).items():
        limit = merged.get("limits", {}).get(key)
        if limit is not None and Quantity.parse(request).amount > Quantity.parse(limit).amount:
            raise InvalidSpec(f"requests.{key} ({request}) is more than limits.{key} ({limit})")
    return merged


def _amounts(resources: Resources | None) -> dict[str, str]:
    if resources is None:
        return {}
    amounts = {"memory": resources.memory, "cpu": resources.cpu, **resources.devices}
    return {key: str(amount) for key, amount in amounts.items() if amount is not None}


def _node_selector(spec: FunctionSpec, namespace_annotations: Mapping[str, str]) -> dict[str, str]:
    """Entries `key=value`; others are passed over, as OpenFaaS does. Raises `InvalidSpec` for a key that is not allowed."""
    pairs: Iterable[list[str]] = (entry.split("=") for entry in spec.constraints)
    selector = {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}
    listed = namespace_annotations.get(names.NS_CONSTRAINTS)
    if listed is not None:
        allowed = {part.strip() for part in listed.split(",")}
        for key in selector:
            if key not in allowed:
                raise InvalidSpec(
                    f"constraint {key}: namespace {spec.ref.namespace} does not allow functions to choose nodes by it",
                    hint=f"an administrator can allow it in the namespace's annotation {names.NS_CONSTRAINTS}",
                )
    return selector


def _service_account(spec: FunctionSpec, namespace_annotations: Mapping[str, str]) -> str:
    account = spec.annotations.get(names.ANNOTATION_SERVICE_ACCOUNT, "")
    allowed = {part.strip() for part in namespace_annotations.get(names.NS_SERVICE_ACCOUNTS, "").split(",")}
    if account and account not in allowed:
        raise InvalidSpec(
            f"annotation {names.ANNOTATION_SERVICE_ACCOUNT}: namespace {spec.ref.namespace} does not allow service account {account}",
            hint=f"an administrator can allow it in the namespace's annotation {names.NS_SERVICE_ACCOUNTS}",
        )
    return account


def _grace(spec: FunctionSpec, rules: Rules) -> int:
    """Seconds: the longer of the installation's and the function's `write_timeout`, after the drain."""
    longest = rules.grace
    if text := spec.env.get("write_timeout"):
        try:
            longest = max(longest, math.ceil(Duration.parse(text, bare_seconds=True).seconds))
        except HilbertError as exc:
            raise InvalidSpec(f"environment variable write_timeout: {exc.message}") from exc
    return min(longest, _MOST_GRACE) + rules.drain


def _volume_name(function: str, suffix: str) -> str:
    """`FUNCTION-suffix`, at most 63 characters; a long function name is cut and told apart by a digest."""
    name = f"{function}-{suffix}"
    if len(name) <= 63:
        return name
    mark = hashlib.sha256(function.encode()).hexdigest()[:8]
    return f"{function[: 63 - len(suffix) - 10].rstrip('-')}-{mark}-{suffix}"
