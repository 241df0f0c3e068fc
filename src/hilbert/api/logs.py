"""`/system/logs`: a function's log lines as NDJSON, each flushed as it comes."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from hilbert.api.problems import RESERVED_WRITE, Told, telling
from hilbert.api.request import AnyRequest, parse_bool, query
from hilbert.api.services import Services
from hilbert.core import errors
from hilbert.core.errors import HilbertError, Invalid
from hilbert.core.model import LogQuery
from hilbert.core.ports import Logs
from hilbert.core.values import FunctionRef
from hilbert.wire.log import encode_line

PATH = "/system/logs"

DEFAULT_SINCE: Final = timedelta(minutes=5)
"""How far back a request goes that says neither `since` nor a positive `tail`."""

_MAX_INSTANCE: Final = 253
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]{1,9})?([Zz]|[-+][0-9]{2}:[0-9]{2})"
)

_log = structlog.get_logger("hilbert.api")


class UnreadableQuery(Invalid):
    """`tail` or `since` cannot be read."""


_TOLD = telling({**RESERVED_WRITE, UnreadableQuery: Told(422, "could not parse the log request")})


def routes(services: Services) -> list[HTTPRouteHandler]:
    """The handler of this resource."""
    tenancy = services.tenancy

    @get(PATH, exception_handlers=_TOLD)
    async def read_logs(request: AnyRequest) -> Stream:
        logs = services.logs
        name = query(request, "name")
        if not name:
            raise Invalid("name: is required", hint="add ?name=FUNCTION")
        _, ref = await tenancy.resolve_function(name, query(request, "namespace"))
        wanted = parse_query(
            ref,
            instance=query(request, "instance"),
            since=query(request, "since"),
            tail=query(request, "tail"),
            follow=query(request, "follow"),
            now=datetime.now(UTC),
        )
        await services.provider.get(ref)
        return Stream(_lines(logs, wanted), media_type="application/x-ndjson")

    return [read_logs]


def parse_query(ref: FunctionRef, *, instance: str, since: str, tail: str, follow: str, now: datetime) -> LogQuery:
    """The query that the parameters' texts ask for; empty ones are absent. Raises `UnreadableQuery`."""
    count = 0
    if tail:
        if not _INTEGER.fullmatch(tail):
            raise UnreadableQuery(f"tail: must be a whole number, not ({tail[:40]!r})")
        count = max(0, int(tail))
    start = None if count else now - DEFAULT_SINCE
    if since:
        if not _RFC3339.fullmatch(since):
            raise UnreadableQuery("since: must be like 2006-01-02T15:04:05Z")
        try:
            start = datetime.fromisoformat(since)
        except ValueError as exc:
            raise UnreadableQuery(f"since: {exc}") from exc
    if len(instance) > _MAX_INSTANCE:
        raise UnreadableQuery(f"instance: at most {_MAX_INSTANCE} characters")
    return LogQuery(ref=ref, instance=instance, since=start, tail=count, follow=parse_bool(follow))


async def _lines(logs: Logs, wanted: LogQuery) -> AsyncGenerator[bytes, None]:
    """The status line is gone by now: a failure can only end the stream, and be logged."""
    try:
        async for line in logs.read_logs(wanted):
            yield encode_line(line)
    except errors.NotFound:
        return
    except HilbertError as exc:
        _log.warning("log stream ended", function=str(wanted.ref), reason=exc.message, detail=exc.detail)
