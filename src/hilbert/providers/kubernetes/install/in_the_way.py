"""What stands in a cluster under the names of an installation and is not Hilbert's: found before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from hilbert.core.errors import Conflict
from hilbert.providers.kubernetes.cluster import names
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused
from hilbert.providers.kubernetes.install.manifests import kind_of, shown

_SHARED: Final = frozenset({"Namespace", "CustomResourceDefinition"})
"""A namespace may be there before, with what is in it; the definitions are OpenFaaS's, too."""
_MOST_NAMED: Final = 20


class _Manager(msgspec.Struct, frozen=True):
    manager: str = ""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    labels: Mapping[str, str] | None = None
    managed_fields: tuple[_Manager, ...] | None = None


class _Found(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()

    @property
    def is_ours(self) -> bool:
        """By its labels; what an older version has made, by who wrote it."""
        labels = self.metadata.labels or {}
        return (
            labels.get(names.LABEL_NAME) == names.NAME
            or labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
            or any(one.manager == names.INSTALL_MANAGER for one in self.metadata.managed_fields or ())
        )


async def require_none(api: Api, namespace: str, manifests: Iterable[Mapping[str, Any]]) -> None:
    """Raise `Conflict` where applying `manifests` would overwrite what others made.

    `namespace` is the platform's. What may not be looked at may not be changed either.
    """
    found = []
    for manifest in manifests:
        if manifest["kind"] in _SHARED:
            continue
        metadata = manifest["metadata"]
        try:
            body = await api.request("GET", kind_of(manifest).path(metadata.get("namespace", ""), metadata["name"]))
        except Refused:
            continue
        if msgspec.json.decode(body, type=_Found).is_ours:
            continue
        if manifest["kind"] == "Deployment":
            raise Conflict(
                f"namespace {namespace} has a Deployment {names.GATEWAY_APP} that is not Hilbert's, probably OpenFaaS's",
                hint="uninstall OpenFaaS first (functions and their namespaces can stay), or choose another --namespace",
            )
        found.append(shown(manifest))
    if found:
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise Conflict(
            f"these are not Hilbert's and would be overwritten: {', '.join(found[:_MOST_NAMED])}{more}",
            hint="remove them, choose another --namespace, or give them to Hilbert with the label "
            f"{names.LABEL_NAME}={names.NAME}",
        )
