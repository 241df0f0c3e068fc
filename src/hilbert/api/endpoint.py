"""One declaration an endpoint: method, path, parameters, body, answer, errors, the right it needs, and its handler.

Router, 405 with `Allow`, the OpenAPI document, the reference page and the decision on rights all follow from it.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar

from hilbert.api.asgi import JSON, TEXT, Answer, RawRequest, Request
from hilbert.api.problems import Retold
from hilbert.api.services import Services
from hilbert.core.errors import HilbertError, Invalid
from hilbert.core.identity import Action, Caller, Resource
from hilbert.core.model import Namespace
from hilbert.core.values import MOST_WHOLE, FunctionRef, parse_whole
from hilbert.wire.reading import decode

B = TypeVar("B")


class Access(enum.Enum):
    """Who may use an endpoint that needs no right of its own."""

    PUBLIC = enum.auto()
    """Anybody, without credentials."""
    SIGNED_IN = enum.auto()
    """Whoever has valid credentials."""


class Query(NamedTuple):
    """A parameter of the query. All are texts; the last of repeated ones counts, an absent one is empty."""

    name: str
    description: str
    required: bool = False


NAMESPACE: Final = Query("namespace", "The namespace; by default, the gateway's default one.")


@dataclass(frozen=True)
class Body(Generic[B]):
    """A body: JSON, whatever its content type says."""

    kind: type[B]
    empty: str | None
    """What to say when there is none. None: it may be absent, and is then `kind()`."""
    broken: str = "{}"
    """What to say of a bad one; `{}` stands for what is wrong."""

    def parse(self, data: bytes) -> B:
        """Raises `Invalid`."""
        if not data:
            if self.empty is None:
                return self.kind()
            raise Invalid(self.empty)
        try:
            return decode(data, self.kind)
        except Invalid as exc:
            raise Invalid(self.broken.format(exc.message)) from exc


class Need(NamedTuple):
    """A right that a request needs besides its endpoint's, for what it would do."""

    action: Action
    resource: Resource
    why: str
    """What needs it, as the beginning of a sentence."""


class Target(NamedTuple):
    """What a request is about: the resource on which it needs the right, and the namespace that was looked up."""

    resource: Resource | None
    """None: no single one. The right is needed somewhere, and the answer is filtered."""
    namespace: Namespace | None = None
    others: tuple[tuple[Resource, Namespace | None], ...] = ()
    """More of the same, where a request is about several: the right is needed on each."""
    absent: HilbertError | None = None
    """What to raise if the caller may not see it. None: that its namespace does not exist."""
    needs: Callable[[], tuple[Need, ...]] = tuple
    """What else it needs. Worked out last, when it is clear that the caller may know of the thing."""

    def each(self) -> tuple[tuple[Resource | None, Namespace | None], ...]:
        return ((self.resource, self.namespace), *self.others)


class Call:
    """One request on its way through an endpoint. Handlers see who asks, never with which credentials."""

    def __init__(self, endpoint: Endpoint, services: Services, request: Request, caller: Caller, name: str) -> None:
        self.endpoint = endpoint
        self.services = services
        self.caller = caller
        self.name = name
        """The part of the path that varies; empty if none does."""
        self.target = Target(Resource())
        self._parameters = request.parameters() if endpoint.query else {}
        self.raw = RawRequest()
        """The request as it came, where the endpoint asks for it."""
        self.data = b""
        """The body as it came."""
        self.refused = False
        """The caller lacks the right, whatever the answer says."""
        self.remark = ""
        """A sentence for the audit log. Nothing that a caller has sent belongs here, but names that were checked."""
        self.asked: Action | None = None
        """For the audit log: the right that a public endpoint has asked for itself."""
        self.whoever: Callable[[], Caller] = lambda: caller
        """Of a public endpoint: who brings the credentials that come with the request, if there are any. Raises `Refusal`."""
        self.acts_for = ""
        """For the audit log: whom a stranger has proved to be."""
        self._parsed: Any = None

    def query(self, parameter: Query) -> str:
        """A parameter that the endpoint declares; empty if it was not given."""
        if parameter not in self.endpoint.query:
            raise RuntimeError(f"{self.endpoint.path} declares no parameter {parameter.name}")
        return self._parameters.get(parameter.name, "")

    def whole(self, parameter: Query, default: int, *, least: int = 0, most: int = MOST_WHOLE) -> int:
        """A parameter that is a whole number. Raises `Invalid`, naming it."""
        text = self.query(parameter)
        try:
            return parse_whole(text, least=least, most=most) if text else default
        except Invalid as exc:
            raise Invalid(f"{parameter.name}: {exc.message}") from exc

    def flag(self, parameter: Query) -> bool:
        """A parameter as Go's `strconv.ParseBool` reads it, with false for what is neither."""
        return self.query(parameter) in _TRUE

    def given(self, body: Body[B]) -> B:
        """The body that the endpoint declares. Parsed when first asked for. Raises `Invalid`."""
        if body is not self.endpoint.body:
            raise RuntimeError(f"{self.endpoint.path} declares another body")
        if self._parsed is None:
            self._parsed = body.parse(self.data)
        found: B = self._parsed
        return found

    @property
    def namespace(self) -> Namespace:
        """The namespace that the request is about."""
        if self.target.namespace is None:
            raise RuntimeError(f"{self.endpoint.path} is about no namespace")
        return self.target.namespace

    @property
    def ref(self) -> FunctionRef:
        """The function that the request is about."""
        if self.target.resource is None or self.target.resource.ref is None:
            raise RuntimeError(f"{self.endpoint.path} is about no function")
        return self.target.resource.ref


Handler = Callable[[Call], Awaitable[Answer]]
Resolver = Callable[[Call], Awaitable[Target]]

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})


async def platform(_call: Call) -> Target:
    """The platform as a whole."""
    return Target(Resource())


async def anywhere(_call: Call) -> Target:
    """Whatever the caller may see: the handler filters."""
    return Target(None)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    """`{name}` stands for one segment, a name of `[-a-zA-Z_0-9.]`; `{rest}` at the end for anything."""
    handler: Handler
    access: Action | Access
    target: Resolver = platform
    """What the request is about. Told before the right is asked for."""
    group: str
    """Its chapter in the descriptions."""
    summary: str
    query: tuple[Query, ...] = ()
    body: Body[Any] | None = None
    form: tuple[Query, ...] = ()
    """Fields of a form in the body, for the descriptions: the handler reads them from `Call.raw`."""
    is_raw: bool = False
    """The handler takes the request as it came (`Call.raw`), byte for byte, instead of a body."""
    success: int = 200
    answer: Any = None
    """The type of the answer; None: no body."""
    media: str = JSON
    errors: tuple[type[HilbertError], ...] = ()
    """Besides those that follow from access, target and body."""
    problem: Any = None
    """The type of a refusal with 400, where another standard than ours says how it is written."""
    retold: Retold = field(default_factory=dict)
    """Errors that OpenFaaS's clients know otherwise than the table tells them."""
    aliases: tuple[str, ...] = ()
    """Other paths of clients that write it in another way."""
    documented: bool = True
    named: Callable[[Call], str] | None = None
    """What a body calls the thing that it is about, for the audit log; what the path calls it is known."""
    audited: bool = False
    """It is public, and recorded all the same."""

    @property
    def is_change(self) -> bool:
        """Whether the audit log has each of its requests, and not only those that were refused."""
        return self.audited or (self.method not in ("GET", "HEAD") and self.access is not Access.PUBLIC)


def nothing(status: int) -> Answer:
    """A success that has nothing to say."""
    return Answer(status, b"", TEXT)
