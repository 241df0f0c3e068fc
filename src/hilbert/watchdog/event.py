"""What a Python handler gets: `event` and `context`, shaped as in OpenFaaS's python3-http template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping


class Headers(Mapping[str, str]):
    """Request headers: names in any case, the first of repeated ones. `get_all` gives every value."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, list[str]] = {}
        self._names: dict[str, str] = {}
        for name, value in raw:
            text = name.decode("latin-1")
            self._names.setdefault(text.lower(), canonical(text))
            self._values.setdefault(text.lower(), []).append(value.decode("latin-1"))

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names.values())

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __repr__(self) -> str:
        return f"Headers({dict(self)!r})"

    def get_all(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        return list(self._values.get(name.lower(), ()))


class Query(dict[str, str]):
    """Query parameters: the first value of each name. `getlist` gives every value."""

    def __init__(self, raw: str) -> None:
        self._all: dict[str, list[str]] = {}
        if raw:
            from urllib.parse import parse_qsl

            for name, value in parse_qsl(raw, keep_blank_values=True):
                self._all.setdefault(name, []).append(value)
        super().__init__({name: values[0] for name, values in self._all.items()})

    def getlist(self, name: str) -> list[str]:
        """Every value of a parameter, in order."""
        return list(self._all.get(name, ()))


class Event:
    """One call. `query` is parsed when it is first asked for."""

    __slots__ = ("_query", "_raw_query", "body", "headers", "method", "path")

    def __init__(self, *, method: str, path: str, raw_query: str, headers: Headers, body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self._raw_query = raw_query
        self._query: Query | None = None

    @property
    def query(self) -> Query:
        if self._query is None:
            self._query = Query(self._raw_query)
        return self._query

    def __repr__(self) -> str:
        return f"Event({self.method} {self.path}, {len(self.body)} bytes)"


class Context:
    """Where the call runs: the same for all calls of a replica."""

    __slots__ = ("hostname", "name", "namespace")

    def __init__(self, *, hostname: str, name: str, namespace: str) -> None:
        self.hostname = hostname
        self.name = name
        self.namespace = namespace

    def __repr__(self) -> str:
        return f"Context({self.name}.{self.namespace} on {self.hostname})"


def canonical(name: str) -> str:
    """A header's name as HTTP libraries print it: `x-call-id` becomes `X-Call-Id`."""
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))
