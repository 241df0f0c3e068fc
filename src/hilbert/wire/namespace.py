"""Namespaces on the wire (`FunctionNamespace` of OpenFaaS).

What makes a namespace a function namespace is the mark `openfaas: "1"`. OpenFaaS's SDKs send it as label and as
annotation, its documentation shows the annotation alone, faasd asks for the label: either is taken, both are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from hilbert.core.errors import Invalid
from hilbert.core.model import Namespace
from hilbert.core.values import NamespaceName
from hilbert.wire.specification import check_annotations, check_labels

MARK: Final = "openfaas"
MARK_VALUE: Final = "1"


class NamespaceInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A namespace with its labels and annotations: the body of a create, update or delete, and the answer to a get."""

    name: str = ""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    warnings: Sequence[str] = ()
    """In the answer to a get: what of it has no effect. This is not part of OpenFaaS's API."""


def is_marked(given: NamespaceInfo) -> bool:
    """True when the mark is among the labels or the annotations."""
    return MARK_VALUE in (given.labels.get(MARK), given.annotations.get(MARK))


def to_namespace(given: NamespaceInfo, name: NamespaceName) -> Namespace:
    """The namespace that is asked for, with the mark in both maps. Raises `Invalid`, naming the key."""
    labels = {**given.labels, MARK: MARK_VALUE}
    annotations = {**given.annotations, MARK: MARK_VALUE}
    check_labels(labels)
    check_annotations(annotations)
    return Namespace(name=name, labels=labels, annotations=annotations)


def from_namespace(namespace: Namespace, warnings: Sequence[str] = ()) -> NamespaceInfo:
    """A namespace as clients read it; what is empty is left out, as Go leaves it."""
    return NamespaceInfo(namespace.name, namespace.labels, namespace.annotations, tuple(warnings))


def check_same_name(given: NamespaceInfo, name: str) -> None:
    """Raise `Invalid` when the body names another namespace than the URL does."""
    if given.name and given.name != name:
        raise Invalid("namespace in request body does not match namespace in URL")
