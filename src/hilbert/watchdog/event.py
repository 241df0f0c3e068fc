"""What a Python handler gets: `event` and `context`, shaped as in OpenFaaS's python3-http template.

There, query and headers are werkzeug's `ImmutableMultiDict` and `EnvironHeaders`. Those here answer as they do, by the same names,
without the import of a library at every start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn


class EnvironHeaders:
    """Request headers: names in any case, several values of one name joined by a comma. Iteration gives pairs."""

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        """`raw` must not change afterwards: it is read when a header is first asked for."""
        self._raw = raw
        self._found: dict[str, tuple[str, str]] | None = None

    @property
    def _all(self) -> dict[str, tuple[str, str]]:
        """Name as it is printed, and value, by the name in lower case."""
        found = self._found
        if found is None:
            found = {}
            for name, value in self._raw:
                text = name.decode("latin-1")
                key = text.lower()
                one = value.strip(b" \t").decode("latin-1")
                if key in found:
                    printed, before = found[key]
                    found[key] = printed, f"{before}, {one}"
                else:
                    found[key] = canonical(text), one
            self._found = found
        return found

    def __getitem__(self, name: str) -> str:
        return self._all[name.lower()][1]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._all

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EnvironHeaders) and self._by_name() == other._by_name()

    __hash__ = None  # type: ignore[assignment]  # as werkzeug's

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_wsgi_list()!r})"

    def __str__(self) -> str:
        return "".join(f"{name}: {value}\r\n" for name, value in self) + "\r\n"

    def __setitem__(self, name: str, value: object) -> NoReturn:
        _unchangeable(self)

    def __delitem__(self, name: str) -> NoReturn:
        _unchangeable(self)

    def get(self, name: str, default: Any = None, type: Callable[[str], Any] | None = None) -> Any:  # noqa: A002 - werkzeug's name
        """The value, through `type` if that is given; `default` where it is missing or `type` refuses it."""
        found = self._all.get(name.lower()) if isinstance(name, str) else None
        return _typed(None if found is None else found[1], default, type)

    def getlist(self, name: str, type: Callable[[str], Any] | None = None) -> list[Any]:  # noqa: A002 - werkzeug's name
        """The value, in a list, or an empty one."""
        found = self.get(name, type=type)
        return [] if found is None else [found]

    get_all = getlist

    def keys(self) -> Iterator[str]:
        return iter([name for name, _ in self._all.values()])

    def values(self) -> Iterator[str]:
        return iter([value for _, value in self._all.values()])

    def items(self, lower: bool = False) -> Iterator[tuple[str, str]]:
        return ((name.lower() if lower else name, value) for name, value in self)

    def to_wsgi_list(self) -> list[tuple[str, str]]:
        return list(self)

    def _by_name(self) -> dict[str, str]:
        return {key: value for key, (_, value) in self._all.items()}


class ImmutableMultiDict(dict[str, Any]):
    """Query parameters. As a dictionary it holds the first value of each name; `getlist` and `lists` give every value."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._all: dict[str, list[str]] = {}
        for name, value in pairs:
            self._all.setdefault(name, []).append(value)
        super().__init__({name: values[0] for name, values in self._all.items()})

    @classmethod
    def parse(cls, raw: str) -> ImmutableMultiDict:
        """From a query string, of which nothing is refused: octets that are no UTF-8 stay percent-encoded."""
        if not raw:
            return cls()
        from urllib.parse import parse_qsl

        _teach_codec()
        return cls(parse_qsl(raw, keep_blank_values=True, errors=_QUOTED, max_num_fields=None))

    def get(self, name: str, default: Any = None, type: Callable[[str], Any] | None = None) -> Any:  # noqa: A002 - werkzeug's name
        """The first value, through `type` if that is given; `default` where it is missing or `type` refuses it."""
        return _typed(super().get(name), default, type)

    def getlist(self, name: str, type: Callable[[str], Any] | None = None) -> list[Any]:  # noqa: A002 - werkzeug's name
        """Every value of a parameter, in order, without those that `type` refuses."""
        values = self._all.get(name, [])
        if type is None:
            return list(values)
        found = []
        for value in values:
            try:
                found.append(type(value))
            except (ValueError, TypeError):
                continue
        return found

    def items(self, multi: bool = False) -> Any:
        if not multi:
            return super().items()
        return ((name, value) for name, values in self._all.items() for value in values)

    def lists(self) -> Iterator[tuple[str, list[str]]]:
        return iter([(name, list(values)) for name, values in self._all.items()])

    def listvalues(self) -> Iterator[list[str]]:
        return iter([list(values) for values in self._all.values()])

    def to_dict(self, flat: bool = True) -> dict[str, Any]:
        return dict(self) if flat else dict(self.lists())

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImmutableMultiDict) and self._all == other._all

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:  # type: ignore[override]  # it cannot be changed
        return hash(tuple((name, tuple(values)) for name, values in self._all.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.items(multi=True))!r})"

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        _unchangeable(self)

    __setitem__ = __delitem__ = __ior__ = _refuse
    pop = popitem = update = setdefault = clear = _refuse


class Event:
    """One call. `query` is parsed when it is first asked for; handlers may add attributes of their own."""

    def __init__(self, *, method: str, path: str, raw_query: str, headers: EnvironHeaders, body: bytes) -> None:
        self.body = body
        self.headers = headers
        self.method = method
        self.path = path
        self.__dict__["query"] = _Unparsed(raw_query)

    @property
    def query(self) -> ImmutableMultiDict:
        found = self.__dict__["query"]
        if isinstance(found, _Unparsed):
            found = self.__dict__["query"] = ImmutableMultiDict.parse(found)
        return found  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"Event({self.method} {self.path}, {len(self.body)} bytes)"


class _Unparsed(str):
    """A query string that nobody has asked for yet."""

    __slots__ = ()


class Context:
    """Where the call runs: the same for all calls of a replica. Handlers may add attributes of their own."""

    def __init__(self, *, hostname: str, name: str, namespace: str) -> None:
        self.hostname = hostname
        self.name = name
        self.namespace = namespace

    def __repr__(self) -> str:
        return f"Context({self.name}.{self.namespace} on {self.hostname})"


_canonical: dict[str, str] = {}
"""Names by how they were sent: the same few come with every call."""
_MOST_NAMES: Final = 1000
_LONGEST_NAME: Final = 64


def canonical(name: str) -> str:
    """A header's name as HTTP libraries print it: `x-call-id` becomes `X-Call-Id`."""
    known = _canonical.get(name)
    if known is None:
        known = "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))
        if len(_canonical) < _MOST_NAMES and len(name) <= _LONGEST_NAME:
            _canonical[name] = known
    return known


def _typed(value: str | None, default: Any, convert: Callable[[str], Any] | None) -> Any:
    if value is None or convert is None:
        return default if value is None else value
    try:
        return convert(value)
    except (ValueError, TypeError):
        return default


def _unchangeable(what: object) -> NoReturn:
    raise TypeError(f"{type(what).__name__!r} objects are immutable")


_QUOTED = "hilbert.quoted"


def _teach_codec() -> None:
    import codecs
    from urllib.parse import quote

    def quoted(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        return quote(error.object[error.start : error.end], safe=""), error.end

    codecs.register_error(_QUOTED, quoted)
