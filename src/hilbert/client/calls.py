"""Every call of the REST API as data: the request, and how its answer is read.

`Client` and `AsyncClient` share all of this and differ only in how they send it.
"""

from __future__ import annotations

import binascii
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from hilbert.client.answers import Accepted
from hilbert.client.codec import BrokenAnswer, Head, Pieces, Request, check_headers, octets
from hilbert.client.faults import Subject, error_of
from hilbert.core.errors import Invalid
from hilbert.wire.audit import AuditPage
from hilbert.wire.function import DeleteFunction, Deployment, Function, ScaleFunction
from hilbert.wire.headers import CALLBACK_URL, WARNING
from hilbert.wire.info import GatewayInfo
from hilbert.wire.limits import LimitStatus
from hilbert.wire.log import LogMessage
from hilbert.wire.namespace import MARK, MARK_VALUE, NamespaceInfo
from hilbert.wire.reading import parse
from hilbert.wire.scaling import Scaling
from hilbert.wire.secret import SecretInfo, SecretRequest
from hilbert.wire.token import Identity, NewToken, TokenInfo, TokenRequest, Verdict
from hilbert.wire.usage import UsageDay

T = TypeVar("T")
Body = bytes | bytearray | memoryview | str
"""Text goes as UTF-8."""
Values = Mapping[str, str]
Pairs = Mapping[str, str] | Iterable[tuple[str, str]]
"""Headers or parameters of a query: a map, or pairs where one name comes several times."""

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Most bytes of an answer of the REST API."""

_JSON: Final = ("Content-Type", "application/json")
_ACCEPT: Final = ("Accept", "application/json")


class Call(Generic[T]):
    """One request of the REST API and the meaning of its answer."""

    def __init__(
        self,
        request: Request,
        decode: Callable[[Head, bytes], T],
        *,
        subject: Subject = "",
        name: str = "",
    ) -> None:
        self.request = request
        self.subject: Subject = subject
        self.name = name
        self._decode = decode

    def result(self, head: Head, body: bytes) -> T:
        """Raises the exception that the answer means, and `BrokenAnswer` if it cannot be read."""
        self.check(head, body)
        try:
            return self._decode(head, body)
        except msgspec.MsgspecError as exc:
            raise BrokenAnswer(
                f"{self.request.method} {self.request.target}: the answer cannot be read: {exc}"
            ) from exc

    def check(self, head: Head, body: bytes) -> None:
        """Raise the exception that an answer other than a success means."""
        if not 200 <= head.status < 300:
            raise error_of(
                head.status,
                head.headers.get("content-type", ""),
                body,
                subject=self.subject,
                name=self.name,
                retry_after=head.headers.get("retry-after", ""),
            )


def nothing(_head: Head, _body: bytes) -> None:
    """An answer without a meaning of its own."""


def _status(head: Head, _body: bytes) -> int:
    return head.status


def _accepted(*, created: bool) -> Callable[[Head, bytes], Accepted]:
    return lambda head, body: Accepted(created, head.status, _warning(head, body))


def _warning(head: Head, _body: bytes) -> str:
    return head.headers.get(WARNING.lower(), "")


def one(kind: type[T]) -> Callable[[Head, bytes], T]:
    """An answer that is one document."""
    return lambda _head, body: parse(body, kind)


def list_of(kind: type[T]) -> Callable[[Head, bytes], list[T]]:
    """An answer that is a list; `null` is an empty one."""
    many: type[list[T] | None] = list[kind] | None  # type: ignore[valid-type, assignment]  # a type made at run time
    return lambda _head, body: parse(body, many) or []


def request(method: str, path: str, *, query: Values | None = None, document: object = None) -> Request:
    """A request of the REST API; empty parameters are left out."""
    given = {key: value for key, value in (query or {}).items() if value}
    return Request(
        method=method,
        target=f"{path}?{urlencode(given)}" if given else path,
        headers=(_ACCEPT,) if document is None else (_ACCEPT, _JSON),
        body=b"" if document is None else msgspec.json.encode(document),
    )


def info() -> Call[GatewayInfo]:
    return Call(request("GET", "/system/info"), one(GatewayInfo))


def health() -> Call[None]:
    return Call(request("GET", "/healthz"), nothing)


def list_functions(namespace: str) -> Call[list[Function]]:
    sent = request("GET", "/system/functions", query={"namespace": namespace})
    return Call(sent, list_of(Function), subject="namespace", name=namespace)


def get_function(name: str, namespace: str, *, usage: bool) -> Call[Function]:
    query = {"namespace": namespace, "usage": "1" if usage else ""}
    sent = request("GET", f"/system/function/{segment(name)}", query=query)
    return Call(sent, one(Function), subject="function", name=name)


def create_function(deployment: Deployment) -> Call[Accepted]:
    sent = request("POST", "/system/functions", document=_valid(deployment))
    return Call(sent, _accepted(created=True), subject="function", name=deployment.service)


def update_function(deployment: Deployment) -> Call[Accepted]:
    sent = request("PUT", "/system/functions", document=_valid(deployment))
    return Call(sent, _accepted(created=False), subject="function", name=deployment.service)


def _valid(deployment: Deployment) -> Deployment:
    """Raises `Invalid` for one with a field of a wrong type."""
    try:
        parse(msgspec.json.encode(deployment), Deployment)
    except (msgspec.MsgspecError, TypeError) as exc:
        raise Invalid(f"deployment: {exc}") from exc
    return deployment


def delete_function(name: str, namespace: str) -> Call[None]:
    document = DeleteFunction(function_name=name, namespace=namespace)
    sent = request("DELETE", "/system/functions", document=document)
    return Call(sent, nothing, subject="function", name=name)


def get_scaling(name: str, namespace: str) -> Call[Scaling]:
    sent = request("GET", f"/system/scaling/{segment(name)}", query={"namespace": namespace})
    return Call(sent, one(Scaling), subject="function", name=name)


def scale_function(name: str, namespace: str, replicas: int) -> Call[None]:
    document = ScaleFunction(service_name=name, replicas=replicas, namespace=namespace)
    sent = request("POST", f"/system/scale-function/{segment(name)}", document=document)
    return Call(sent, nothing, subject="function", name=name)


def restart_function(name: str, namespace: str) -> Call[None]:
    sent = request("POST", f"/system/restart-function/{segment(name)}", query={"namespace": namespace})
    return Call(sent, nothing, subject="function", name=name)


def list_namespaces() -> Call[list[str]]:
    return Call(request("GET", "/system/namespaces"), list_of(str))


def get_namespace(name: str, *, deleting: bool) -> Call[NamespaceInfo]:
    sent = request("GET", f"/system/namespace/{segment(name)}", query={"deleting": "true" if deleting else ""})
    return Call(sent, one(NamespaceInfo), subject="namespace", name=name)


def create_namespace(name: str, *, labels: Values, annotations: Values) -> Call[str]:
    document = _namespace(name, labels, annotations)
    return Call(request("POST", "/system/namespace/", document=document), _warning, subject="namespace", name=name)


def update_namespace(name: str, *, labels: Values, annotations: Values) -> Call[str]:
    document = _namespace(name, labels, annotations)
    sent = request("PUT", f"/system/namespace/{segment(name)}", document=document)
    return Call(sent, _warning, subject="namespace", name=name)


def delete_namespace(name: str, *, force: bool) -> Call[None]:
    document = NamespaceInfo(name=name, labels={MARK: MARK_VALUE})
    query = {"force": "true" if force else ""}
    sent = request("DELETE", f"/system/namespace/{segment(name)}", query=query, document=document)
    return Call(sent, nothing, subject="namespace", name=name)


def list_limits(namespace: str) -> Call[list[LimitStatus]]:
    sent = request("GET", "/system/limits", query={"namespace": namespace})
    return Call(sent, list_of(LimitStatus), subject="namespace", name=namespace)


def list_secrets(namespace: str) -> Call[list[SecretInfo]]:
    sent = request("GET", "/system/secrets", query={"namespace": namespace})
    return Call(sent, list_of(SecretInfo), subject="namespace", name=namespace)


def put_secret(method: str, name: str, value: Body, namespace: str) -> Call[int]:
    """`POST` creates, `PUT` updates. Always `rawValue`, which keeps every byte. Raises `Invalid`."""
    raw = binascii.b2a_base64(octets(value, "the value of a secret"), newline=False).decode()
    document = SecretRequest(name=name, namespace=namespace, raw_value=raw)
    return Call(request(method, "/system/secrets", document=document), _status, subject="secret", name=name)


def delete_secret(name: str, namespace: str) -> Call[None]:
    document = SecretRequest(name=name, namespace=namespace)
    return Call(request("DELETE", "/system/secrets", document=document), nothing, subject="secret", name=name)


def list_tokens() -> Call[list[TokenInfo]]:
    return Call(request("GET", "/system/tokens"), list_of(TokenInfo))


def create_token(name: str, role: str, namespaces: Sequence[str], expires_in: str) -> Call[NewToken]:
    document = TokenRequest(name=name, role=role, namespaces=tuple(namespaces), expires_in=expires_in)
    return Call(request("POST", "/system/tokens", document=document), one(NewToken))


def revoke_token(number: str) -> Call[None]:
    return Call(request("DELETE", f"/system/tokens/{segment(number)}"), nothing)


def read_audit(query: Values) -> Call[AuditPage]:
    return Call(request("GET", "/system/audit", query=query), one(AuditPage))


def read_usage(query: Values) -> Call[list[UsageDay]]:
    return Call(request("GET", "/system/usage", query=query), list_of(UsageDay))


def whoami() -> Call[Identity]:
    return Call(request("GET", "/system/whoami"), one(Identity))


def can_i(action: str, resource: str) -> Call[Verdict]:
    return Call(request("GET", "/system/can-i", query={"action": action, "resource": resource}), one(Verdict))


def logs(
    name: str,
    namespace: str,
    *,
    instance: str,
    since: datetime | None,
    tail: int,
    follow: bool,
    call_id: str,
    calls: bool,
) -> Call[list[LogMessage]]:
    if since is not None and since.tzinfo is None:
        raise Invalid("since needs a time zone")
    query = {
        "name": name,
        "namespace": namespace,
        "instance": instance,
        "since": since.isoformat() if since else "",
        "tail": str(tail) if tail else "",
        "follow": "true" if follow else "false",
        "call_id": call_id,
        "calls": "true" if calls else "",
    }
    return Call(request("GET", "/system/logs", query=query), list_of(LogMessage), subject="function", name=name)


def invoke(
    name: str,
    namespace: str,
    *,
    method: str,
    path: str,
    query: Pairs,
    headers: Pairs,
    body: Body | Pieces,
    queued: bool = False,
) -> Call[None]:
    """A call of a function; `queued` for `/async-function/`. Text goes as UTF-8. Raises `Invalid`."""
    if not method.isascii() or not method.isalpha():
        raise Invalid(f"({method!r}) is not a method")
    fields = _pairs(headers, "headers")
    check_headers(fields)
    full = f"{name}.{namespace}" if namespace else name
    target = f"/{'async-' if queued else ''}function/{segment(full)}"
    if path:
        target += "/" + quote(path.lstrip("/"), safe="/:@!$&'()*+,;=-._~%")
    if parameters := _pairs(query, "query"):
        target += f"?{urlencode(parameters)}"
    sent = Request(method=method.upper(), target=target, headers=fields)
    if isinstance(body, (Iterable, AsyncIterable)) and not isinstance(
        body, (str, bytes, bytearray, memoryview, Mapping)
    ):
        sent = msgspec.structs.replace(sent, pieces=body)
    else:
        sent = msgspec.structs.replace(sent, body=octets(body, "a body"))
    return Call(sent, nothing, subject="function", name=full)


def about_queueing(callback_url: str, key: str, delay: float) -> tuple[tuple[str, str], ...]:
    """Headers that say how a call is queued."""
    said = (
        (CALLBACK_URL, callback_url),
        ("Idempotency-Key", key),
        ("X-Delay", f"{round(delay * 1000)}ms" if delay else ""),
    )
    return tuple((name, value) for name, value in said if value)


class LogReader:
    """Log messages from pieces of NDJSON, as they come."""

    _most = 4 * 1024 * 1024

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterable[LogMessage]:
        """The messages that are whole now. Raises `BrokenAnswer`."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > self._most:
            raise BrokenAnswer(f"a log message is longer than {self._most} bytes")
        try:
            return [parse(line, LogMessage) for line in lines if line.strip()]
        except msgspec.MsgspecError as exc:
            raise BrokenAnswer(f"a log message cannot be read: {exc}") from exc

    def finish(self) -> Iterable[LogMessage]:
        """The last message, if it came without its newline."""
        rest, self._rest = self._rest, b""
        return self.feed(rest + b"\n") if rest else []


def _namespace(name: str, labels: Values, annotations: Values) -> NamespaceInfo:
    """With the mark `openfaas=1` in both maps, as OpenFaaS's SDKs send it."""
    mark = {MARK: MARK_VALUE}
    return NamespaceInfo(name=name, labels={**labels, **mark}, annotations={**annotations, **mark})


def _pairs(given: Pairs, what: str) -> tuple[tuple[str, str], ...]:
    """Raises `Invalid` for anything but a map of texts or pairs of texts."""
    pairs = tuple(given.items()) if isinstance(given, Mapping) else tuple(given)
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise Invalid(f"{what}: ({pair!r:.80}) is not a name and a value", hint=f'write {what}={{"NAME": "VALUE"}}')
    return pairs


def segment(text: str) -> str:
    """One segment of a path; the gateway refuses what is no name. Raises `Invalid` for what would be another path."""
    if not text or text in (".", ".."):
        raise Invalid("a name is needed" if not text else f"({text}) is not a name")
    return quote(text, safe="")
