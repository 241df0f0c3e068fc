"""The capability `Secrets`: one Secret each, with one key of the same name, labelled as OpenFaaS labels them.

Only labelled ones are listed, changed and removed; others in the namespace belong to others. Values are never read.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final

from hilbert.core.errors import AlreadyExists, Invalid, SecretNotFound
from hilbert.core.model import Secret
from hilbert.core.values import NamespaceName, SecretName
from hilbert.providers import quota
from hilbert.providers.kubernetes.cluster import kinds, names
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, translated
from hilbert.providers.kubernetes.cluster.objects import SecretObject
from hilbert.providers.kubernetes.keep import within_quota
from hilbert.providers.kubernetes.keep.secret_watch import tell_pods
from hilbert.providers.kubernetes.keep.turns import Turns
from hilbert.providers.kubernetes.render import namespace_annotations
from hilbert.providers.kubernetes.view.state import State

_SELECTOR: Final = f"{names.LABEL_MANAGED_BY}={names.SECRET_MANAGED_BY}"
_TRIES: Final = 4
_MOST_BYTES: Final = 1024 * 1024
"""Kubernetes' own limit."""


class SecretStore:
    """Secrets in the cluster."""

    def __init__(self, api: Api, state: State, turns: Turns) -> None:
        self._api = api
        self._state = state
        self._turns = turns

    async def list_secrets(self, namespace: NamespaceName) -> Sequence[SecretName]:
        self._state.require(namespace)
        with translated():
            found = await self._api.every(kinds.SECRETS, namespace, selector=_SELECTOR)
        return sorted(SecretName(item.metadata.name) for item in found)

    async def create_secret(self, secret: Secret) -> None:
        annotations = namespace_annotations.usable(self._state.require(secret.namespace).annotations)
        if quota.SECRETS not in annotations:
            await self._create(secret)
            return
        async with self._turns.taken(secret.namespace):
            quota.check_secrets(annotations, len(await self.list_secrets(secret.namespace)), f"secret {secret.name}")
            await self._create(secret)

    async def _create(self, secret: Secret) -> None:
        with _translated(secret.namespace, secret.name):
            made = await within_quota.create(
                self._api,
                kinds.SECRETS,
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "type": "Opaque",
                    "metadata": {
                        "name": secret.name,
                        "namespace": secret.namespace,
                        "labels": {names.LABEL_MANAGED_BY: names.SECRET_MANAGED_BY},
                    },
                    "data": {secret.name: _encoded(secret)},
                },
                secret.namespace,
            )
        # Replicas may have one that was removed, or wait for this one.
        await self._tell_pods(made)

    async def _tell_pods(self, secret: SecretObject) -> None:
        metadata = secret.metadata
        await tell_pods(self._api, self._state, metadata.namespace, metadata.name, metadata.resource_version)

    async def update_secret(self, secret: Secret) -> None:
        """Running replicas see the new value in their files within seconds.

        A node looks for changed secrets about once a minute, and at once at a Pod that changes; so each Pod that mounts
        the secret gets an annotation.
        """
        self._state.require(secret.namespace)
        for tries in range(1, _TRIES + 1):
            found = await self._read(secret.namespace, secret.name)
            change = {"metadata": {"uid": found.metadata.uid}, "data": {secret.name: _encoded(secret)}}
            with _translated(secret.namespace, secret.name):
                try:
                    done = await self._api.patch(kinds.SECRETS, secret.name, change, secret.namespace)
                except Refused as exc:
                    if not (exc.code == 409 or "metadata.uid" in exc.message) or tries == _TRIES:
                        raise
                    continue  # It was deleted and made again meanwhile: what is there now is meant.
            await self._tell_pods(done)
            return

    async def delete_secret(self, namespace: NamespaceName, name: SecretName) -> None:
        self._state.require(namespace)
        found = await self._read(namespace, name)
        with _translated(namespace, name):
            gone = await self._api.delete(kinds.SECRETS, name, namespace, uid=found.metadata.uid)
        if not gone:
            raise SecretNotFound(f"secret {name} not found")

    async def _read(self, namespace: NamespaceName, name: SecretName) -> SecretObject:
        with _translated(namespace, name):
            found = await self._api.get(kinds.SECRETS, name, namespace)
        if found.labels.get(names.LABEL_MANAGED_BY) != names.SECRET_MANAGED_BY:
            raise SecretNotFound(
                f"secret {name} not found",
                hint=f"a secret made with kubectl can be changed here once it has the label {_SELECTOR}",
            )
        return found


def _encoded(secret: Secret) -> str:
    if len(secret.value) > _MOST_BYTES:
        raise Invalid(f"secret {secret.name}: has {len(secret.value)} bytes; Kubernetes allows at most {_MOST_BYTES}")
    return base64.b64encode(secret.value).decode()


def _translated(namespace: str, name: str) -> AbstractContextManager[None]:
    return translated(
        f"secret {name} in namespace {namespace}",
        missing=SecretNotFound(f"secret {name} not found"),
        exists=AlreadyExists(f"secret {name} already exists"),
    )
