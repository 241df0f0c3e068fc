"""Applying a plan to a cluster, and waiting for what comes of it."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from hilbert.core.errors import BackendError, BackendUnavailable, StartFailed
from hilbert.core.settings import KubernetesSettings
from hilbert.providers.kubernetes.cluster import kinds, names
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.connect import connect
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable, advice, is_starting, translated
from hilbert.providers.kubernetes.install import gateway, in_the_way, plan
from hilbert.providers.kubernetes.install.manifests import kind_of, shown
from hilbert.providers.kubernetes.view import status

_POLL: Final = 0.5
_AGAIN: Final = "run the command again: what is installed stays, and it goes on from there"
UNDEFINED: Final = "the cluster has no definitions of Function and Profile, so the gateway cannot become ready"
_DEFINE: Final = "ask an administrator of the cluster to run kubectl apply -k deploy/kubernetes/definitions"


class Installed:
    """What an installation did."""

    def __init__(self) -> None:
        self.applied: list[str] = []
        self.skipped: list[str] = []
        """What the caller's rights do not allow, with the reason; it may have been installed by another."""
        self.password_made = False
        self.next_steps: list[str] = []
        """What is still to be done by somebody, in sentences."""


async def install(
    options: plan.Options,
    settings: KubernetesSettings,
    *,
    wait: float = 0.0,
    tell: Callable[[str], None] = lambda _: None,
) -> Installed:
    """Apply everything, idempotently; then wait for the gateway for at most `wait` seconds.

    `tell` is given a line on what is being done. Raises `InvalidSettings`, `BackendUnavailable`, `BackendError`,
    `StartFailed`, and `Conflict` where OpenFaaS is installed.
    """
    manifests = plan.make(options).every()
    api = connect(settings)
    done = Installed()
    try:
        with translated(), _to_be_continued():
            await in_the_way.require_none(api, options.namespace, manifests)
            for manifest in manifests:
                tell(f"applying {shown(manifest)}")
                await _apply(api, manifest, done, options)
            done.password_made = await _credentials(api, options.namespace)
            if not await _is_defined(api, options, done):
                done.next_steps.append(f"{UNDEFINED}: {_DEFINE}")
                if wait:
                    raise BackendError(UNDEFINED, hint=f"{_DEFINE}; the gateway goes on by itself then")
            if wait:
                await _wait(api, options, wait, tell)
    finally:
        await api.close()
    return done


async def _apply(api: Api, manifest: Mapping[str, Any], done: Installed, options: plan.Options) -> None:
    try:
        await api.apply(kind_of(manifest), dict(manifest), manager=names.INSTALL_MANAGER)
    except Refused as exc:
        kind, labels = manifest["kind"], manifest["metadata"].get("labels", {})
        is_definition = kind == "CustomResourceDefinition" or any("/aggregate-to-" in label for label in labels)
        if exc.code == 403 and (kind == "Namespace" or is_definition):
            done.skipped.append(f"{shown(manifest)}: {exc.message}")
            return
        raise BackendError(f"{shown(manifest)}: {exc.message}", hint=_hint(exc, options)) from exc
    done.applied.append(shown(manifest))


async def _is_defined(api: Api, options: plan.Options, done: Installed) -> bool:
    """Whether Functions are served, or will be at once. Whoever may not look is believed."""
    if any(line.startswith("CustomResourceDefinition") for line in done.applied):
        return True
    try:
        await api.page(kinds.FUNCTIONS, options.namespaces[0], limit=1)
    except Refused as exc:
        return not exc.is_missing
    return True


@contextmanager
def _to_be_continued() -> Iterator[None]:
    """An installation may be cut short at any point, and goes on when it is begun again."""
    try:
        yield
    except Unreachable as exc:
        raise BackendUnavailable(
            "the Kubernetes API server cannot be reached right now", detail=str(exc), hint=_AGAIN
        ) from exc
    except Refused as exc:
        if exc.code in (401, 403, 404, 409, 422):
            raise
        raise BackendUnavailable(
            f"the Kubernetes API server could not do this now: {exc.message}", hint=_AGAIN
        ) from exc


def _hint(refused: Refused, options: plan.Options) -> str:
    if is_starting(refused):
        return f"{advice(refused)}; {_AGAIN}"
    if refused.code == 401:
        return (
            "the cluster does not accept these credentials: renew those in the kubeconfig, for instance by logging in"
        )
    if refused.lost_namespace:
        return f"create it first: kubectl create namespace {refused.lost_namespace}"
    if refused.code == 404 or (refused.code == 400 and "no matches for kind" in refused.message):
        return f"this cluster does not serve it; Hilbert needs Kubernetes 1.30 or newer, and its definitions: {_DEFINE}"
    if refused.code >= 500 or refused.code in (409, 410, 429):
        return _AGAIN
    if refused.code != 403:
        return ""
    if options.cluster_role:
        return "to install without cluster-wide rights, use --no-cluster-role --namespaces NAMES"
    if "not currently held" in refused.message:
        return f"{_DEFINE}: it lets whoever holds the ClusterRole admin in a namespace grant these rights there"
    where = ", ".join((options.namespace, *options.namespaces))
    return f"you need the ClusterRole admin in each of these namespaces: {where}"


async def _credentials(api: Api, namespace: str) -> bool:
    """Make a password if there is none; one that is there is never changed."""
    password = base64.b64encode(secrets.token_urlsafe(32).encode()).decode()
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": gateway.CREDENTIALS, "namespace": namespace},
        "data": {"basic-auth-user": base64.b64encode(b"admin").decode(), "basic-auth-password": password},
    }
    try:
        await api.create(kinds.SECRETS, manifest, namespace)
    except Refused as exc:
        if exc.code == 409:
            return False
        raise BackendError(f"Secret {gateway.CREDENTIALS}: {exc.message}") from exc
    return True


async def _wait(api: Api, options: plan.Options, seconds: float, tell: Callable[[str], None]) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    reason = "it has not been created"
    while asyncio.get_running_loop().time() < deadline:
        try:
            live = await api.get(kinds.DEPLOYMENTS, names.GATEWAY_APP, options.namespace)
            if (
                live.status.observed_generation >= live.metadata.generation
                and live.status.updated_replicas == live.status.available_replicas == live.replicas
            ):
                return
            pods = await api.every(kinds.PODS, options.namespace, selector=f"app={names.GATEWAY_APP}")
        except Refused as exc:
            raise BackendUnavailable(f"cannot read the gateway's state: {exc.message}") from exc
        # The gateway's Pods are of no Function's generation.
        seen = status.condense(live, pods, generation=0, available=0, now=datetime.now(UTC))
        if seen.reason == "ProbeFailing":
            seen = msgspec.structs.replace(seen, message="it runs, and is not ready; its log says what it waits for")
        ready = f"{live.status.available_replicas} of {live.replicas} replicas are ready"
        reason = f"{ready}; {seen.message}" if seen.message else ready
        tell(f"waiting for the gateway: {reason}")
        await asyncio.sleep(_POLL)
    raise StartFailed(
        f"the gateway was not ready within {seconds:g} s: {reason}",
        hint=f"kubectl --namespace {options.namespace} describe deployment {names.GATEWAY_APP}; "
        f"its log: kubectl --namespace {options.namespace} logs deployment/{names.GATEWAY_APP}",
    )
