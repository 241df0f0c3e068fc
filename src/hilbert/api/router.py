"""Which endpoint a request is for: a dictionary for the paths without a variable part, and a few prefixes for the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from hilbert.api.endpoint import Access, Endpoint
from hilbert.api.problems import Refusal

_NAME: Final = re.compile(r"[-a-zA-Z_0-9.]+")
_SLASHES: Final = re.compile(r"/{2,}")
_VARIABLE: Final = re.compile(r"\{(name|rest)\}$")


class Match(NamedTuple):
    """A path that is known, with its endpoints by method."""

    path: str
    """As declared."""
    methods: dict[str, Endpoint]
    name: str
    """What stands for the variable part; empty if there is none."""
    exact: bool = True
    """Whether the path was written as declared."""

    def is_public(self, method: str) -> bool:
        """Whether nobody needs credentials here for this method; for one that the path does not take, for some method."""
        if (found := self.methods.get(method)) is not None:
            return self.exact and found.access is Access.PUBLIC
        return self.exact and any(endpoint.access is Access.PUBLIC for endpoint in self.methods.values())

    def endpoint(self, method: str) -> Endpoint:
        """Raises `Refusal` (405) for a method that the path does not take."""
        found = self.methods.get(method)
        if found is None:
            allowed = ", ".join(sorted(self.methods))
            message = f"this path takes {allowed}"
            raise Refusal(405, "method-not-allowed", message, text="", headers={"Allow": allowed})
        return found


class Router:
    """The endpoints by path. Refuses two with the same method and path when it is made."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._plain: dict[str, dict[str, Endpoint]] = {}
        self._variable: dict[str, dict[str, Endpoint]] = {}
        self._spellings: set[str] = set()
        for endpoint in endpoints:
            for path in (endpoint.path, *endpoint.aliases):
                table = self._variable if _VARIABLE.search(path) else self._plain
                methods = table.setdefault(path if path == "/" else path.rstrip("/"), {})
                self._spellings.add(path)
                if methods.get(endpoint.method, endpoint) is not endpoint:
                    raise RuntimeError(f"{endpoint.method} {path} is declared twice")
                methods[endpoint.method] = endpoint

    def find(self, path: str) -> Match | None:
        """None for a path that is not known.

        Repeated slashes count as one, and one at the end makes no difference; but only what is written exactly is public,
        so that no other spelling gets past the door.
        """
        plain = _SLASHES.sub("/", path)
        plain = plain if plain == "/" else plain.rstrip("/")
        if (methods := self._plain.get(plain)) is not None:
            return Match(plain, methods, "", exact=path in self._spellings)
        for declared, methods in self._variable.items():
            head, _, variable = declared.partition("{")
            if variable == "rest}" and path.startswith(head) and len(path) > len(head):
                return Match(declared, methods, path[len(head) :])
            if variable == "name}" and plain.startswith(head) and _NAME.fullmatch(plain, len(head)):
                return Match(declared, methods, plain[len(head) :])
        return None
