"""Labels and annotations that look like the platform's and are none, or stand where nothing reads them. Pure.

They are accepted, as OpenFaaS accepts any; whoever set one should hear that it does nothing. A test compares the names
here with all that the code reads.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Final

ANYWHERE: Final = frozenset(
    {
        "com.hilbert.async.results",
        "com.hilbert.auth",
        "com.hilbert.callback.key",
        "com.hilbert.limits.burst",
        "com.hilbert.limits.concurrency",
        "com.hilbert.limits.connections",
        "com.hilbert.limits.held",
        "com.hilbert.limits.held-bytes",
        "com.hilbert.limits.log-bytes",
        "com.hilbert.limits.rate",
        "com.hilbert.network",
        "com.hilbert.pull-secret",
        "com.hilbert.queue.bytes",
        "com.hilbert.queue.calls",
        "com.hilbert.queue.concurrency",
        "com.hilbert.queue.rate",
        "com.hilbert.schedule.body",
        "com.hilbert.schedule.by",
        "com.hilbert.schedule.catch-up",
        "com.hilbert.schedule.content-type",
        "com.hilbert.schedule.jitter",
        "com.hilbert.schedule.overlap",
        "com.hilbert.schedule.paused",
        "com.hilbert.schedule.timezone",
        "com.hilbert.timeout.activation",
        "com.hilbert.timeout.first-byte",
        "com.hilbert.timeout.idle",
        "com.hilbert.timeout.total",
        "com.openfaas.retry.attempts",
        "com.openfaas.retry.codes",
        "com.openfaas.retry.max_wait",
        "com.openfaas.retry.min_wait",
    }
)
"""Annotations of a function, or of its namespace."""

ON_FUNCTIONS: Final = frozenset(
    {
        "com.hilbert.max-inflight",
        "com.hilbert.port",
        "com.hilbert.queue-length",
        "com.hilbert.scale.idle",
        "com.hilbert.user-ids",
        "com.openfaas.health.http.failureThreshold",
        "com.openfaas.health.http.initialDelay",
        "com.openfaas.health.http.initialDelaySeconds",
        "com.openfaas.health.http.path",
        "com.openfaas.health.http.periodSeconds",
        "com.openfaas.health.http.timeoutSeconds",
        "com.openfaas.profile",
        "com.openfaas.ready.http.failureThreshold",
        "com.openfaas.ready.http.initialDelay",
        "com.openfaas.ready.http.initialDelaySeconds",
        "com.openfaas.ready.http.path",
        "com.openfaas.ready.http.periodSeconds",
        "com.openfaas.ready.http.successThreshold",
        "com.openfaas.ready.http.timeoutSeconds",
        "com.openfaas.serviceaccount",
    }
)

ON_NAMESPACES: Final = frozenset(
    {
        "com.hilbert.constraints.allowed",
        "com.hilbert.egress",
        "com.hilbert.ingress",
        "com.hilbert.isolation",
        "com.hilbert.limits.api-writes",
        "com.hilbert.limits.cpu",
        "com.hilbert.limits.max-cpu",
        "com.hilbert.limits.max-memory",
        "com.hilbert.limits.memory",
        "com.hilbert.limits.requests-cpu",
        "com.hilbert.limits.requests-memory",
        "com.hilbert.limits.starts",
        "com.hilbert.limits.weight",
        "com.hilbert.network.gateway",
        "com.hilbert.network.internet",
        "com.hilbert.network.metrics-from",
        "com.hilbert.pod-security",
        "com.hilbert.profiles",
        "com.hilbert.profiles.allowed",
        "com.hilbert.queue.weight",
        "com.hilbert.quota.cpu",
        "com.hilbert.quota.functions",
        "com.hilbert.quota.memory",
        "com.hilbert.quota.replicas",
        "com.hilbert.quota.requests-cpu",
        "com.hilbert.quota.requests-memory",
        "com.hilbert.quota.secrets",
        "com.hilbert.service-accounts",
        "com.hilbert.tenant",
        "com.hilbert.tenant.limits",
        "com.hilbert.tenant.network",
        "com.hilbert.tenant.pod-security",
        "com.hilbert.tenant.quota",
    }
)

LABELS: Final = frozenset(
    {
        "com.openfaas.scale.down.window",
        "com.openfaas.scale.factor",
        "com.openfaas.scale.max",
        "com.openfaas.scale.min",
        "com.openfaas.scale.target",
        "com.openfaas.scale.target-proportion",
        "com.openfaas.scale.type",
        "com.openfaas.scale.zero",
        "com.openfaas.scale.zero-duration",
    }
)
"""Of a function."""

WRITTEN: Final = frozenset(
    {
        "com.hilbert.applied",
        "com.hilbert.counts",
        "com.hilbert.digest",
        "com.hilbert.function",
        "com.hilbert.generation",
        "com.hilbert.pull-secrets",
        "com.hilbert.rollout",
        "com.hilbert.secrets",
        "com.hilbert.tenant.scope",
        "com.hilbert.usage",
    }
)
"""What the platform itself writes on objects of a cluster, and what a namespace is told with."""

_NOTES: Final = ("com.openfaas.git-", "com.openfaas.ui.")
"""What these begin is for people and dashboards: nothing is expected of it."""
_OURS: Final = ("com.hilbert", "com.openfaas")
_SETTINGS: Final = sorted(ANYWHERE | ON_FUNCTIONS | ON_NAMESPACES | LABELS)
_PLACES: Final = (
    (ANYWHERE, "an annotation"),
    (ON_FUNCTIONS, "an annotation of a function"),
    (ON_NAMESPACES, "an annotation of a namespace"),
    (LABELS, "a label of a function"),
)
_MOST: Final = 16
"""Keys that are looked up; there may be a thousand."""
_LONGEST: Final = 128


def function_keys(labels: Mapping[str, str], annotations: Mapping[str, str]) -> list[str]:
    """What has no effect on a function, a sentence each."""
    return _told(
        [("annotation", key) for key in annotations if key not in ANYWHERE | ON_FUNCTIONS]
        + [("label", key) for key in labels if key not in LABELS]
    )


def namespace_keys(labels: Mapping[str, str], annotations: Mapping[str, str]) -> list[str]:
    """What has no effect on a namespace, a sentence each."""
    return _told(
        [("annotation", key) for key in annotations if key not in ANYWHERE | ON_NAMESPACES]
        + [("label", key) for key in labels]
    )


def _told(keys: Sequence[tuple[str, str]]) -> list[str]:
    suspects = sorted((where, key) for where, key in keys if _looks_like_ours(key))
    told = [f"{where} {key[:_LONGEST]}: {why}" for where, key in suspects[:_MOST] if (why := _why(key))]
    if len(suspects) > _MOST:
        told.append(f"{len(suspects) - _MOST} more labels and annotations have no effect")
    return told


def _why(key: str) -> str:
    """Why it has no effect where it stands; empty: there is nothing to say."""
    for known, place in _PLACES:
        if key in known:
            return f"it has no effect here, only as {place}"
    certain = _head(key) in _OURS
    close = difflib.get_close_matches(key[:_LONGEST], _SETTINGS, n=1, cutoff=0.75 if certain else 0.9)
    if not close:
        return "it is not known and has no effect" if certain else ""
    return f"it is not known and has no effect; did you mean {close[0]}?"


def _looks_like_ours(key: str) -> bool:
    """Also with a slip in the prefix, such as `com.openfass.`; other people's domains are other people's."""
    if key in WRITTEN or key.startswith(_NOTES):
        return False
    head = _head(key)
    return head in _OURS or (
        abs(len(head) - len(_OURS[0])) <= 3
        and any(difflib.SequenceMatcher(None, head, ours).ratio() > 0.85 for ours in _OURS)
    )


def _head(key: str) -> str:
    """Its first two parts, as `com.hilbert`."""
    return ".".join(key[:_LONGEST].lower().replace("/", ".").split(".")[:2])
