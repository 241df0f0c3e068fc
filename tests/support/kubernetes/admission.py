"""Admission: what is asked about a write before it is stored, beyond its being valid."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.kubernetes.options import WriteOptions
from support.kubernetes.resources import Resource
from support.kubernetes.status import Cause, Json, forbidden, not_found

if TYPE_CHECKING:
    from support.kubernetes.engine import Engine

_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


@dataclass
class Request:
    """One write under admission."""

    verb: str
    resource: Resource
    namespace: str
    obj: Json
    old: Json | None
    options: WriteOptions
    sub: str = ""


class Admission:
    """The admission plug-ins of a default API server that matter here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._addresses = itertools.count(1)

    def next_address(self) -> str:
        """The cluster address of a Service; nothing listens there."""
        number = next(self._addresses)
        return f"10.{96 + number // 65536}.{number // 256 % 256}.{number % 256}"

    def mutate(self, request: Request) -> None:
        self._lifecycle(request)

    def validate(self, request: Request) -> None:
        if request.verb == "DELETE" and request.resource.key == "namespaces":
            name = request.obj["metadata"]["name"]
            if name in _IMMORTAL:
                raise forbidden("", "namespaces", name, "this namespace may not be deleted")

    def settle(self, request: Request) -> None:
        """After a write was stored."""

    def released(self, resource: Resource, last: Json) -> None:
        """After an object is gone."""

    def _lifecycle(self, request: Request) -> None:
        if request.verb != "CREATE" or not request.resource.namespaced:
            return
        namespace = self._engine.peek("namespaces", "", request.namespace)
        if namespace is None:
            raise not_found("", "namespaces", request.namespace)
        if namespace["status"].get("phase") == "Terminating" or "deletionTimestamp" in namespace["metadata"]:
            raise forbidden(
                request.resource.group,
                request.resource.plural,
                request.obj["metadata"].get("name", ""),
                f"unable to create new content in namespace {request.namespace} because it is being terminated",
                [
                    Cause(
                        "NamespaceTerminating",
                        "metadata.namespace",
                        f"namespace {request.namespace} is being terminated",
                    )
                ],
            )
