"""Whose namespace it is: the one place that resolves and guards a namespace that a caller names."""

from __future__ import annotations

from collections.abc import Sequence

from hilbert.core.errors import Invalid, NamespaceNotFound, ReservedNamespace
from hilbert.core.model import Namespace
from hilbert.core.ports import Namespaces, Provider
from hilbert.core.values import (
    RESERVED_NAMESPACES,
    FunctionRef,
    NamespaceName,
    parse_function_name,
    parse_namespace_name,
)


class Tenancy:
    """Resolves what a request says about namespaces to one that exists and may hold functions."""

    def __init__(
        self, provider: Provider, *, default: NamespaceName, reserved: frozenset[str] = RESERVED_NAMESPACES
    ) -> None:
        self._provider = provider
        self._spaces = provider if isinstance(provider, Namespaces) else None
        self._default = default
        self._reserved = reserved

    @property
    def default(self) -> NamespaceName:
        return self._default

    async def resolve(self, *given: str | None) -> Namespace:
        """The one namespace that all non-empty values of a request name, or the default.

        Raises `Invalid` when two of them differ, `ReservedNamespace`, and `NamespaceNotFound` for one that does not
        exist, is no function namespace, or has no valid name.
        """
        named = list(dict.fromkeys(text for text in given if text))
        if len(named) > 1:
            raise Invalid(
                "the request names two namespaces that differ",
                hint="name it once: in the body, in the query or after the function's name",
            )
        name = self.check_name(named[0]) if named else self._default
        return await self._look_up(name)

    async def resolve_function(self, name: str, *given: str | None) -> tuple[Namespace, FunctionRef]:
        """A function named as `NAME` or `NAME.NAMESPACE`, with whatever else names its namespace.

        Raises as `resolve`, and `InvalidName`. The function need not exist.
        """
        plain, dot, namespace = name.rpartition(".")
        found = await self.resolve(*given, namespace if dot else None)
        return found, FunctionRef(namespace=found.name, name=parse_function_name(plain if dot else name))

    def check_name(self, text: str) -> NamespaceName:
        """A name that a function namespace could have. Raises `ReservedNamespace` and `NamespaceNotFound`."""
        if text in self._reserved:
            raise ReservedNamespace(f"unable to list within the {text} namespace")
        try:
            return parse_namespace_name(text)
        except Invalid as exc:
            raise NamespaceNotFound(exc.message) from exc

    def check_new(self, text: str) -> NamespaceName:
        """A name for a new namespace. Raises `ReservedNamespace` and `InvalidName`."""
        if text in self._reserved:
            raise ReservedNamespace(f"namespace {text} is reserved for the platform or the cluster")
        return parse_namespace_name(text)

    def absent(self, name: str) -> NamespaceNotFound:
        """What to raise for a namespace that does not exist, and for one that a caller may not see: they look alike."""
        single = self._spaces is None
        hint = f"the {self._provider.name} provider has only the namespace {self._default}" if single else ""
        return NamespaceNotFound(f"namespace {name} not found", hint=hint)

    async def list_all(self) -> Sequence[Namespace]:
        """Every function namespace, the default one among them, by name."""
        if self._spaces is not None:
            return await self._spaces.list_namespaces()
        return [Namespace(name=self._default)]

    async def list_names(self) -> Sequence[NamespaceName]:
        """The names of all."""
        return [one.name for one in await self.list_all()]

    async def _look_up(self, name: NamespaceName) -> Namespace:
        if self._spaces is not None:
            try:
                return await self._spaces.get_namespace(name)
            except NamespaceNotFound as exc:
                raise self.absent(name) from exc
        if name == self._default:
            return Namespace(name=name)
        raise self.absent(name)
