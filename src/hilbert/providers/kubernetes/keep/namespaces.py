"""Namespaces as tenants: made complete, kept complete, removed with care."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec
import structlog

from hilbert.core.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    NamespaceNotFound,
    ReservedNamespace,
    Unsupported,
)
from hilbert.core.model import LABEL_FUNCTION, Namespace
from hilbert.core.values import NamespaceName
from hilbert.providers.kubernetes.cluster import kinds, names
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, being_deleted, translated
from hilbert.providers.kubernetes.cluster.objects import Manifest, NamespaceObject, Object, Piece, SecretObject
from hilbert.providers.kubernetes.keep.upkeep_queue import UpkeepQueue
from hilbert.providers.kubernetes.render import namespace_annotations, tenant
from hilbert.providers.kubernetes.view.state import State
from hilbert.providers.kubernetes.view.tenant_pieces import is_ours
from hilbert.providers.rules import check_namespace, check_no_host_annotations

_log = structlog.get_logger("hilbert.kubernetes.namespaces")

_HELD: Final[tuple[kinds.Kind[Any], ...]] = (
    kinds.DEPLOYMENTS,
    kinds.STATEFUL_SETS,
    kinds.DAEMON_SETS,
    kinds.CRON_JOBS,
    kinds.JOBS,
    kinds.PODS,
    kinds.SERVICES,
    kinds.INGRESSES,
    kinds.CLAIMS,
    kinds.CONFIG_MAPS,
    kinds.SECRETS,
)
"""What is looked at before a namespace is deleted."""
_MOST_NAMED: Final = 20
_GONE_WITHIN: Final = 30.0
_POLL: Final = 0.2
_LOOK_AGAIN: Final = 60.0
"""Seconds until a tenant is looked at again in which something that is not ours was in the way."""
_MOST_TEXT: Final = 1000
_CLUSTER_CONFIG: Final = frozenset({"kube-root-ca.crt", "openshift-service-ca.crt", "istio-ca-root-cert"})
"""ConfigMaps that clusters put into every namespace."""
_HOW_TO_ANNOTATE: Final = (
    'to make an existing namespace a function namespace, annotate it: kubectl annotate namespace NAME openfaas="1"'
)
_CLUSTER_SECRET: Final = "kubernetes.io/service-account-token"  # noqa: S105 - a type


class NamespaceKeeper:
    """The capability `Namespaces`, and the upkeep of tenants by the leading gateway."""

    def __init__(
        self,
        api: Api,
        state: State,
        surroundings: tenant.Surroundings,
        default: NamespaceName,
        *,
        patience: float = _GONE_WITHIN,
    ) -> None:
        """`patience` is how many seconds a deletion is waited for."""
        self._api = api
        self._state = state
        self._around = surroundings
        self._default = default
        self._patience = patience
        self._queue: UpkeepQueue[str] = UpkeepQueue(self._upkeep, name="tenants", workers=4)
        self._in_the_way: dict[str, list[str]] = {}
        """By tenant: what has the name of a piece and is not ours."""
        self._completing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        state.on_namespace.append(self._queue.add)

    # Upkeep, while leading

    def start(self) -> None:
        """Without cluster-wide rights there is nothing to keep: the pieces came with the installation."""
        if self._state.listed:
            return
        self._queue.start()
        for found in self._state.tenants():
            self._queue.add(found.metadata.name)

    async def stop(self) -> None:
        await self._queue.stop()

    async def _upkeep(self, name: str) -> float | None:
        found = self._state.tenant(name)
        if found is None:
            self._in_the_way.pop(name, None)
            return None
        try:
            await self._complete(found)
        except Invalid as exc:
            _log.warning("tenant not complete", namespace=name, reason=exc.message)
        except Conflict as exc:
            _log.warning("tenant not complete", namespace=name, reason=exc.message)
            return _LOOK_AGAIN  # Nothing tells when it is out of the way.
        return None

    async def _complete(self, found: NamespaceObject) -> None:
        """Apply the pieces, and remove those that are no longer wanted. Never touches what others made: raises `Conflict`.

        For an installation with cluster-wide rights; others watch no pieces.
        """
        name = found.metadata.name
        async with self._completing.setdefault(name, asyncio.Lock()):
            # What is wanted must not follow from annotations that changed while this waited.
            known = self._state.raw_namespace(name)
            await self._complete_alone(known if known and known.metadata.uid == found.metadata.uid else found)

    async def _complete_alone(self, found: NamespaceObject) -> None:
        name, of = found.metadata.name, self.scope(found)
        annotations = namespace_annotations.usable(found.annotations)
        wanted = tenant.pieces(name, annotations, self._around, of)
        labelled = {
            "apiVersion": "v1",
            "kind": "Namespace",
            # With the UID, so that one that has just gone is not made again.
            "metadata": {
                "name": name,
                "uid": found.metadata.uid,
                "labels": tenant.pod_security_labels(annotations, of),
            },
        }
        if not tenant.has_pod_security(found.labels, annotations, of):
            done = await self._api.apply(kinds.NAMESPACES, labelled, manager=names.TENANT_MANAGER)
            self._state.observe_namespace(done)
        pieces = self._state.pieces
        if pieces is None:
            return
        in_the_way = []
        for manifest in pieces.missing(name, wanted):
            kind, metadata = kinds.of(manifest), manifest["metadata"]
            live = await self._find_piece(kind, metadata["name"], name)
            if live is not None and not is_ours(live):
                in_the_way.append(f"{manifest['kind']} {metadata['name']}")
                continue
            if live is not None:
                metadata["resourceVersion"] = live.metadata.resource_version
            pieces.observe(kind.plural, await self._api.apply(kind, manifest))
        for kind, piece in pieces.spare(name, wanted):
            await self._api.delete(kind, piece.metadata.name, name, uid=piece.metadata.uid)
        if not in_the_way:
            self._in_the_way.pop(name, None)
            return
        self._in_the_way[name] = in_the_way
        raise Conflict(
            f"namespace {name} has the {', '.join(in_the_way)} that Hilbert did not make, but needs",
            hint="an administrator can remove it, or give it to Hilbert, which will overwrite it: kubectl label "
            f"--namespace {name} KIND NAME app.kubernetes.io/managed-by=hilbert",
        )

    async def _find_piece(self, kind: kinds.Kind[Piece], name: str, namespace: str) -> Piece | None:
        """By a list, since that is the right that there is."""
        page = await self._api.page(kind, namespace, fields=f"metadata.name={name}")
        return next(map(kind.decode, page.items), None)

    def scope(self, found: NamespaceObject) -> tenant.Scope:
        """What in the namespace is ours to bind."""
        return tenant.scope(found.labels, found.annotations, adopts=self._around.adopts)

    async def ensure_complete(self, name: str) -> None:
        """Make a tenant complete before a function comes into it, if it is not yet. Asks nothing when it is.

        Raises `Conflict` where what somebody else made is in the way, and `BackendUnavailable`.
        """
        found, pieces = self._state.tenant(name), self._state.pieces
        if found is None or pieces is None:
            return
        annotations = namespace_annotations.usable(found.annotations)
        wanted = tenant.pieces(name, annotations, self._around, self.scope(found))
        if pieces.missing(name, wanted):
            with translated(f"namespace {name}"):
                await self._complete(found)

    async def ensure_default(self) -> None:
        """Make the default namespace if there is none. One that exists is left as it is."""
        if not self._state.listed and self._state.raw_namespace(self._default) is None:
            try:
                await self.create_namespace(Namespace(name=self._default))
            except AlreadyExists:
                pass
            except Forbidden as exc:
                _log.warning("default namespace not made", namespace=self._default, reason=exc.message)

    # The capability

    async def list_namespaces(self) -> Sequence[Namespace]:
        return [self._told(found) for found in self._state.tenants()]

    async def get_namespace(self, name: NamespaceName) -> Namespace:
        return self._told(self._state.require(name))

    def facts(self) -> dict[str, str]:
        """For an administrator: namespaces that are not tenants with all that is in them."""
        if self._state.listed:
            return {**self._lost(), **self._unreadable()}
        scopes = {found.metadata.name: self.scope(found) for found in self._state.tenants()}
        adopted = [name for name, of in scopes.items() if of is tenant.Scope.FUNCTIONS]
        alone = [name for name, of in scopes.items() if of is tenant.Scope.NOTHING]
        facts = self._unreadable()
        if blocked := [f"{name} ({', '.join(found)})" for name, found in sorted(self._in_the_way.items())]:
            facts["warning.not-ours"] = (
                f"{_some(blocked)}: not made by Hilbert, which leaves it alone and deploys nothing new there; remove it, or "
                "label it app.kubernetes.io/managed-by=hilbert to have it overwritten"
            )
        if adopted:
            facts["functions-only-namespaces"] = (
                f"{_some(adopted)}: annotated with kubectl, so policies cover the Pods of functions and no others; "
                f"the annotation {names.NS_TENANT}=managed covers all Pods"
            )
        if alone:
            facts["warning.open-namespaces"] = (
                f"{_some(alone)}: no network policies, so functions there can reach the cluster's network; "
                f"the annotation {names.NS_TENANT}=functions protects them"
            )
        return facts

    def _unreadable(self) -> dict[str, str]:
        found = [
            f"{one.metadata.name}: annotation {key}: {why}"
            for one in self._state.tenants()
            for key, why in namespace_annotations.problems(one.annotations).items()
        ]
        return {"warning.annotations": f"not followed, since they cannot be read: {_some(found)}"} if found else {}

    def _lost(self) -> dict[str, str]:
        lost = self._state.lost()
        if not lost:
            return {}
        return {
            "warning.namespaces": (
                f"{_some(lost)}: not there, or the gateway has no rights in it; make it and the rights again with "
                "hilbert install kubernetes --no-cluster-role --namespaces ..., or take it out of kubernetes.namespaces"
            )
        }

    def _told(self, found: NamespaceObject) -> Namespace:
        """With a word on what is not bound; where the pieces came with the installation, it is not ours to tell."""
        namespace, of = to_namespace(found), self.scope(found)
        if self._state.listed or of is tenant.Scope.WHOLE:
            return namespace
        return msgspec.structs.replace(namespace, annotations={**namespace.annotations, names.NS_SCOPE: of.value})

    async def create_namespace(self, namespace: Namespace) -> None:
        """As the port; also `InvalidSpec` for an annotation of ours that cannot be honoured."""
        name = namespace.name
        self._require_rights()
        if self._state.is_reserved(name):
            raise ReservedNamespace(f"namespace {name} is reserved")
        check_namespace(namespace)
        check_no_host_annotations(namespace.annotations)
        namespace_annotations.check(namespace.annotations)
        there = AlreadyExists(f"namespace {name} already exists", hint=_HOW_TO_ANNOTATE)
        gone = being_deleted(name)
        going = AlreadyExists(f"namespace {name} is still being deleted", hint=gone.hint)
        raw = self._state.raw_namespace(name)
        with translated(f"namespace {name}", exists=going if raw and raw.metadata.deletion_timestamp else there):
            # The little that always stays is created, the rest applied: only what an apply wrote, an apply takes away.
            await self._api.create(kinds.NAMESPACES, _manifest(Namespace(name=name)))
            made = await self._api.apply(kinds.NAMESPACES, _manifest(namespace))
            self._state.observe_namespace(made)
            await self._complete(made)

    async def update_namespace(self, namespace: Namespace) -> None:
        """Labels and annotations that others set stay theirs; all that the API set is replaced."""
        self._require_rights()
        found = self._state.require(namespace.name)
        check_namespace(namespace)
        check_no_host_annotations(namespace.annotations)
        namespace_annotations.check(namespace.annotations)
        is_ours = found.labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
        manifest = _manifest(namespace, is_ours=is_ours)
        manifest["metadata"]["uid"] = found.metadata.uid
        gone = NamespaceNotFound(f"namespace {namespace.name} not found")
        with translated(f"namespace {namespace.name}", missing=gone, conflict=gone):
            done = await self._api.apply(kinds.NAMESPACES, manifest)
            self._state.observe_namespace(done)
            await self._complete(done)

    async def delete_namespace(self, name: NamespaceName, *, force: bool = False) -> None:
        """As the port; returns once nothing is left, or after half a minute, when `still_deleting` says what is.

        Raises `Conflict`, with a list, for a namespace that holds what we did not make, unless `force`.
        """
        self._require_rights()
        found = self._state.require(name)
        if name == self._default:
            raise Forbidden(f"namespace {name} is the default namespace and cannot be deleted")
        with translated(f"namespace {name}"):
            if not force and (foreign := await self._foreign(name)):
                raise Conflict(
                    f"namespace {name} contains objects that Hilbert did not create: {_some(foreign)}",
                    hint=f"remove them first, or delete everything: hilbert namespace delete {name} --force",
                )
            await self._api.delete(kinds.NAMESPACES, name, uid=found.metadata.uid)
            await self._until_gone(found)

    async def _until_gone(self, found: NamespaceObject) -> None:
        """New calls find nothing once the deletion is known here; the cluster may take longer to clean up."""
        deadline = asyncio.get_running_loop().time() + self._patience
        while asyncio.get_running_loop().time() < deadline:
            there = await self._api.find(kinds.NAMESPACES, found.metadata.name)
            if there is None or there.metadata.uid != found.metadata.uid:
                break
            self._state.observe_namespace(there)
            await asyncio.sleep(_POLL)
        else:
            return
        self._state.forget_namespace(self._state.raw_namespace(found.metadata.name) or found)

    async def still_deleting(self, name: NamespaceName) -> str | None:
        """As the capability, from the cluster itself."""
        going = None if self._state.listed else self._going(name)
        if going is None:
            return None
        with translated(f"namespace {name}"):
            there = await self._api.find(kinds.NAMESPACES, name)
        if there is None or there.metadata.uid != going.metadata.uid:
            return None
        return f"namespace {name} is still being deleted{_left(there)}"

    async def _foreign(self, namespace: str) -> list[str]:
        found: list[str] = []
        for kind in _HELD:
            try:
                items = await self._api.every(kind, namespace)
            except Refused as exc:
                if exc.is_missing:  # This cluster does not serve the kind.
                    continue
                raise
            found += [f"{kind.plural}/{item.metadata.name}" for item in items if not _is_ours(item)]
        return found

    def _going(self, name: str) -> NamespaceObject | None:
        """The namespace, if it is a function namespace that is being deleted."""
        found = self._state.raw_namespace(name)
        if (
            found is None
            or found.metadata.deletion_timestamp is None
            or self._state.is_reserved(name)
            or found.annotations.get(names.MARKER) != "1"
        ):
            return None
        return found

    def _require_rights(self) -> None:
        if self._state.listed:
            raise Unsupported(
                "this installation has no cluster-wide rights, so its namespaces are fixed",
                hint="an administrator can add namespaces: hilbert install kubernetes --no-cluster-role --namespaces ...",
            )


def to_namespace(found: NamespaceObject) -> Namespace:
    """Without what the platform and the cluster put there."""
    own = {names.LABEL_METADATA_NAME, names.LABEL_MANAGED_BY}
    labels = {
        key: value
        for key, value in found.labels.items()
        if key not in own and not key.startswith(names.POD_SECURITY_PREFIX)
    }
    return Namespace(
        name=NamespaceName(found.metadata.name),
        labels=labels,
        annotations={key: value for key, value in found.annotations.items() if key != names.MARKER},
        created_at=found.metadata.creation_timestamp,
    )


def _manifest(namespace: Namespace, *, is_ours: bool = True) -> Manifest:
    """Without `is_ours` it was made by others, such as Helm: their label is left to them."""
    labels = {key: text for key, text in namespace.labels.items() if not key.startswith(names.POD_SECURITY_PREFIX)}
    labels.pop(names.LABEL_METADATA_NAME, None)
    labels.pop(names.LABEL_MANAGED_BY, None)
    annotations = {**namespace.annotations, names.MARKER: "1"}
    annotations.pop(names.NS_SCOPE, None)
    if is_ours:
        labels[names.LABEL_MANAGED_BY] = names.MANAGED_BY
    metadata = {"name": namespace.name, "labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _left(there: NamespaceObject) -> str:
    """What the cluster says that it waits for, in its words."""
    conditions = (there.status.conditions if there.status is not None else None) or ()
    said = [one.message for one in conditions if one.status == "True" and one.message]
    return f": {'; '.join(said)[:_MOST_TEXT]}" if said else ""


def _some(found: Sequence[str]) -> str:
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return ", ".join(found[:_MOST_NAMED]) + more


def _is_ours(item: Object) -> bool:
    """Made by us, or by the cluster for something of ours or for itself."""
    managed = item.labels.get(names.LABEL_MANAGED_BY)
    if item.metadata.name in _CLUSTER_CONFIG:
        return True
    if isinstance(item, SecretObject):
        return managed == names.SECRET_MANAGED_BY or item.type == _CLUSTER_SECRET
    return managed == names.MANAGED_BY or LABEL_FUNCTION in item.labels
