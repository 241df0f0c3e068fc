"""The API server, spoken to with plain requests.

lightkube finds the cluster and authenticates (kubeconfig, service account with its rotating token, certificates, exec
plug-ins). Its object models are passed by: they decode every field of every object, and its watch knows neither
bookmarks nor Retry-After. What is here is the small part of the API that the provider uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

import httpx2
import msgspec
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ConfigError

from hilbert.kit.aio import Clock, RealClock
from hilbert.kit.pace import Pace
from hilbert.providers.kubernetes.cluster.errors import Refused, Status, Unreachable
from hilbert.providers.kubernetes.cluster.kinds import Kind
from hilbert.providers.kubernetes.cluster.names import FIELD_MANAGER
from hilbert.providers.kubernetes.cluster.objects import Manifest, Object

T = TypeVar("T", bound=Object)

_TIMEOUT: Final = httpx2.Timeout(15.0, connect=3.0)
"""A machine that is gone does not even refuse connections: the next try must not wait long for the last one."""
_PACE: Final = Pace(first=0.1, most=2.0, jitter=0.3)
_TRIES: Final = 5
_PATIENCE: Final = 20.0
"""Seconds that one request may spend on waiting between its tries."""
_MOST_CONNECTIONS: Final = 2000
"""Watches hold one each: ten, or five a namespace without cluster-wide rights."""
_MOST_LINE: Final = 16 * 2**20
"""Bytes of one watch event; etcd takes objects of 1.5 MiB."""

APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"


class Page(msgspec.Struct, frozen=True):
    """One page of a list, its items still undecoded."""

    items: tuple[msgspec.Raw, ...]
    version: str
    more: str
    """Token of the next page; empty: this was the last."""


class _ListMeta(msgspec.Struct, frozen=True, rename={"resource_version": "resourceVersion", "more": "continue"}):
    resource_version: str = ""
    more: str = ""


class _List(msgspec.Struct):
    metadata: _ListMeta = _ListMeta()
    items: tuple[msgspec.Raw, ...] | None = None


class Api:
    """A connection to one cluster. `close` it."""

    def __init__(self, config: SingleConfig, *, clock: Clock | None = None) -> None:
        self.clock = clock or RealClock()
        self.on_return: list[Callable[[], None]] = []
        """Called when the API server answers again after it could not be reached. Must not fail."""
        self._away = False
        limits = httpx2.Limits(max_connections=_MOST_CONNECTIONS, max_keepalive_connections=32)
        params = ConnectionParams(timeout=_TIMEOUT)
        self._http = httpx2.AsyncClient(**params.httpx_params(config), limits=limits)
        self._http.headers["User-Agent"] = FIELD_MANAGER

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, kind: Kind[T], name: str, namespace: str = "") -> T:
        return kind.decode(await self.request("GET", kind.path(namespace, name)))

    async def find(self, kind: Kind[T], name: str, namespace: str = "") -> T | None:
        """As `get`; None when it is not there."""
        try:
            return await self.get(kind, name, namespace)
        except Refused as exc:
            if exc.is_missing:
                return None
            raise

    async def page(
        self,
        kind: Kind[Any],
        namespace: str = "",
        *,
        selector: str = "",
        fields: str = "",
        limit: int = 500,
        more: str = "",
    ) -> Page:
        """One page, as of now (a read through the store's quorum, not a cache that may lag)."""
        params = {"limit": str(limit)} if limit else {}
        if selector:
            params["labelSelector"] = selector
        if fields:
            params["fieldSelector"] = fields
        if more:
            params["continue"] = more
        body = await self.request("GET", kind.path(namespace), params=params, accept=kind.list_form)
        answer = msgspec.json.decode(body, type=_List)
        return Page(items=answer.items or (), version=answer.metadata.resource_version, more=answer.metadata.more)

    async def every(self, kind: Kind[T], namespace: str = "", *, selector: str = "") -> list[T]:
        """All objects, page by page."""
        found: list[T] = []
        more = ""
        while True:
            page = await self.page(kind, namespace, selector=selector, more=more)
            found.extend(kind.decode(item) for item in page.items)
            if not (more := page.more):
                return found

    async def create(self, kind: Kind[T], manifest: Manifest, namespace: str = "") -> T:
        """Refused with 409 `AlreadyExists` when it is there. Not repeated when the answer got lost."""
        return kind.decode(
            await self.request("POST", kind.path(namespace), body=manifest, params={"fieldManager": FIELD_MANAGER})
        )

    async def apply(
        self, kind: Kind[T], manifest: Manifest, *, sub: str = "", rehearse: bool = False, manager: str = FIELD_MANAGER
    ) -> T:
        """Server-side apply: take what the manifest says, leave what others say, drop what `manager` said before.

        A rehearsal goes through all checks of the API server and stores nothing.
        """
        metadata = manifest["metadata"]
        body = await self.request(
            "PATCH",
            kind.path(metadata.get("namespace", ""), metadata["name"], sub),
            body=manifest,
            content_type=APPLY,
            params={"fieldManager": manager, "force": "true", **({"dryRun": "All"} if rehearse else {})},
        )
        return kind.decode(body)

    async def patch(
        self, kind: Kind[T], name: str, change: Any, namespace: str = "", *, form: str = MERGE, sub: str = ""
    ) -> T:
        """A patch in the stated form. Refused with 404 when the object is not there."""
        body = await self.request(
            "PATCH",
            kind.path(namespace, name, sub),
            body=change,
            content_type=form,
            params={"fieldManager": FIELD_MANAGER},
        )
        return kind.decode(body)

    async def adjust(
        self, kind: Kind[T], name: str, change: Any, namespace: str = "", *, form: str = MERGE
    ) -> T | None:
        """As `patch`; None when the object is not there."""
        try:
            return await self.patch(kind, name, change, namespace, form=form)
        except Refused as exc:
            if exc.is_missing:
                return None
            raise

    async def replace(self, kind: Kind[T], manifest: Manifest) -> T:
        """PUT; the manifest names the version it replaces. Refused with 409 `Conflict` when that is old."""
        metadata = manifest["metadata"]
        path = kind.path(metadata.get("namespace", ""), metadata["name"])
        return kind.decode(await self.request("PUT", path, body=manifest, params={"fieldManager": FIELD_MANAGER}))

    async def delete(self, kind: Kind[Any], name: str, namespace: str = "", *, uid: str = "") -> bool:
        """Delete, in the background; False when it was not there, or was another one than `uid`."""
        options: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self.request("DELETE", kind.path(namespace, name), body=options)
        except Refused as exc:
            if exc.is_missing or (uid and exc.code == 409 and exc.reason == "Conflict"):
                return False
            raise
        return True

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        """One request, repeated while that is safe and promising. Raises `Refused` and `Unreachable`."""
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Accept": accept, **({} if content is None else {"Content-Type": content_type})}
        waited, tried = 0.0, 0
        while True:
            tried += 1
            try:
                answer = await self._http.request(method, path, params=params, content=content, headers=headers)
            except (httpx2.HTTPError, OSError) as exc:
                failure: Refused | Unreachable = self._lost(exc)
                again = method != "POST"
            except ConfigError as exc:
                raise Unreachable(str(exc)) from exc
            else:
                self._reached()
                if answer.status_code < 400:
                    return answer.content
                failure = _refusal(answer)
                # 429 says that nothing was done; the others leave it open, which only a POST cannot bear.
                again = failure.code == 429 or (failure.code in (500, 503, 504) and method != "POST")
                if failure.code == 500 and failure.reason != "InternalError":
                    again = False
            delay = self._delay(tried, failure)
            if not again or tried >= _TRIES or waited + delay > _PATIENCE:
                raise failure
            waited += delay
            await self.clock.sleep(delay)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        params: Mapping[str, str],
        *,
        quiet: float,
        begins: float | None = None,
        accept: str = "application/json",
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Lines of a long answer, without their newlines.

        `quiet` seconds without a byte are an error, and so are `begins` seconds without an answer at all.
        Not repeated. Raises `Refused` and `Unreachable`, also while reading.
        """
        timeout = httpx2.Timeout(_TIMEOUT.read, connect=_TIMEOUT.connect, read=quiet)
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(begins):
                    headers = {"Accept": accept}
                    request = self._http.stream("GET", path, params=params, headers=headers, timeout=timeout)
                    answer = await stack.enter_async_context(request)
                self._reached()
                if answer.status_code >= 400:
                    await answer.aread()
                    raise _refusal(answer)
                yield _lines(answer)
        except (httpx2.HTTPError, OSError) as exc:
            raise self._lost(exc) from exc
        except ConfigError as exc:
            raise Unreachable(str(exc)) from exc

    @staticmethod
    def _delay(tried: int, failure: Refused | Unreachable) -> float:
        if isinstance(failure, Refused) and failure.retry_after is not None:
            return failure.retry_after
        return _PACE.delay(tried)

    def _lost(self, error: Exception) -> Unreachable:
        self._away = True
        return Unreachable(f"{type(error).__name__}: {error}")

    def _reached(self) -> None:
        if self._away:
            self._away = False
            for told in self.on_return:
                told()


def _refusal(answer: httpx2.Response) -> Refused:
    try:
        status = msgspec.json.decode(answer.content, type=Status)
        if not status.code:
            status = msgspec.structs.replace(status, code=answer.status_code)
    except msgspec.MsgspecError:
        text = answer.text.strip()[:500]
        status = Status(code=answer.status_code, message=text or f"the API server answered {answer.status_code}")
    wait = answer.headers.get("Retry-After", "")
    return Refused(status, retry_after=min(float(wait), 60.0) if wait.isascii() and wait.isdigit() else None)


async def _lines(answer: httpx2.Response) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in answer.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > _MOST_LINE:
            raise Unreachable(f"a line of more than {_MOST_LINE} bytes")
    if rest:
        yield rest
