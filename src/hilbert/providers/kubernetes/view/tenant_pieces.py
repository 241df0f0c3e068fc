"""The live copies of what tenants' namespaces hold of ours: quotas, limits and network policies.

They are watched, so that one that somebody removes or changes comes back at once, and none is asked for at rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from hilbert.providers.kubernetes.cluster import kinds, names
from hilbert.providers.kubernetes.cluster.objects import Manifest, Piece
from hilbert.providers.kubernetes.cluster.reflector import Key, Reflector
from hilbert.providers.kubernetes.render import workload
from hilbert.providers.kubernetes.render.drift import contains
from hilbert.providers.kubernetes.render.tenant import NAMES

KINDS: Final[tuple[kinds.Kind[Piece], ...]] = (kinds.QUOTAS, kinds.LIMITS, kinds.POLICIES)
SELECTOR: Final = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
Name = tuple[str, str]
"""Plural of the kind, and name."""
Reflect = Callable[[kinds.Kind[Piece], Callable[[Key, Piece | None, Piece | None], None]], Reflector[Piece]]


class Pieces:
    """An index by namespace. `on_change` is called with the name of a namespace in which something of ours changed."""

    def __init__(self, reflect: Reflect, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._by_namespace: dict[str, dict[Name, Piece]] = {}
        self._reflectors = {kind.plural: reflect(kind, self._follow(kind.plural)) for kind in KINDS}

    @property
    def reflectors(self) -> Sequence[Reflector[Any]]:
        return list(self._reflectors.values())

    def observe(self, plural: str, item: Piece) -> None:
        """Take in what an answer to one of our own writes said."""
        self._reflectors[plural].observe(item)

    def missing(self, namespace: str, wanted: Sequence[Manifest]) -> list[Manifest]:
        """Which of `wanted` are not there or say something else; as they are to be applied."""
        there = self._by_namespace.get(namespace, {})
        return [stamped for stamped in map(_stamped, wanted) if not _says(there.get(_name(stamped)), stamped)]

    def spare(self, namespace: str, wanted: Sequence[Manifest]) -> list[tuple[kinds.Kind[Piece], Piece]]:
        """What is there and not among `wanted`."""
        kept = {_name(manifest) for manifest in wanted}
        there = self._by_namespace.get(namespace, {})
        return [
            (kind, piece)
            for kind in KINDS
            for name, piece in there.items()
            if name[0] == kind.plural and name not in kept and name[1] in NAMES
        ]

    def _follow(self, plural: str) -> Callable[[Key, Piece | None, Piece | None], None]:
        def changed(key: Key, old: Piece | None, new: Piece | None) -> None:
            namespace, name = key
            if new is not None:
                self._by_namespace.setdefault(namespace, {})[plural, name] = new
            else:
                held = self._by_namespace.get(namespace, {})
                held.pop((plural, name), None)
                if not held:
                    self._by_namespace.pop(namespace, None)
            # A quota's status changes with each Pod.
            if old is None or new is None or _content(old) != _content(new):
                self._on_change(namespace)

        return changed


def is_ours(piece: Piece) -> bool:
    """Whether we have made it: by its label, or, where somebody took that away, by the digest that we stamp."""
    return piece.labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY or names.ANNOTATION_DIGEST in piece.annotations


def _stamped(manifest: Manifest) -> Manifest:
    """With a digest of its spec, by which fields are seen that an older one had and this one has not."""
    digest = workload.digest({"metadata": {}, "spec": manifest["spec"]})
    annotations = {names.ANNOTATION_DIGEST: digest}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def _says(live: Piece | None, manifest: Manifest) -> bool:
    metadata = manifest["metadata"]
    return (
        live is not None
        and contains(metadata["labels"], live.labels)
        and contains(metadata["annotations"], live.annotations)
        and contains(manifest["spec"], msgspec.json.decode(live.spec))
    )


def _content(piece: Piece) -> tuple[Mapping[str, str], Mapping[str, str], bytes]:
    return piece.labels, piece.annotations, bytes(piece.spec)


def _name(manifest: Manifest) -> Name:
    return kinds.of(manifest).plural, manifest["metadata"]["name"]
