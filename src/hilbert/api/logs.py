"""`/system/logs`: a function's log lines as NDJSON, each flushed as it comes."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from hilbert.api import targets
from hilbert.api.asgi import Answer
from hilbert.api.endpoint import NAMESPACE, Call, Endpoint, Query
from hilbert.api.log_streams import LogStreams
from hilbert.api.problems import RESERVED_WRITE, Told
from hilbert.core import errors
from hilbert.core.errors import HilbertError, Invalid
from hilbert.core.identity import Action
from hilbert.core.model import LogQuery
from hilbert.core.ports import Logs
from hilbert.core.values import FunctionRef
from hilbert.wire.headers import is_call_id
from hilbert.wire.log import LogMessage, encode_line

DEFAULT_SINCE: Final = timedelta(minutes=5)
"""How far back a request goes that says neither `since` nor a positive `tail`."""

NAME: Final = Query("name", "`NAME` or `NAME.NAMESPACE`.", required=True)
INSTANCE: Final = Query("instance", "One replica only.")
SINCE: Final = Query("since", "RFC 3339; five minutes ago if absent, unless `tail` is positive or `call_id` is given.")
TAIL: Final = Query("tail", "At most this many of the newest lines; 0 or less means no limit.")
FOLLOW: Final = Query("follow", "`1` or `true` keeps the stream open for new lines.")
CALL_ID: Final = Query(
    "call_id",
    "Only lines that this call wrote, or that name it where nothing says who wrote them, each with its `call_id`; "
    "this is not part of OpenFaaS's API.",
)
CALLS: Final = Query("calls", "`1` or `true` adds `call_id` to each line; this is not part of OpenFaaS's API.")

_MAX_INSTANCE: Final = 253
_PIECE: Final = 65536
"""Bytes after which the pace is looked at."""
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]{1,9})?([Zz]|[-+][0-9]{2}:[0-9]{2})"
)

_log = structlog.get_logger("hilbert.api")


class UnreadableQuery(Invalid):
    """`tail` or `since` cannot be read."""


async def read_logs(call: Call) -> Answer:
    logs = call.services.logs
    wanted = parse_query(
        call.ref,
        instance=call.query(INSTANCE),
        since=call.query(SINCE),
        tail=call.query(TAIL),
        follow=call.flag(FOLLOW),
        call_id=call.query(CALL_ID),
        now=datetime.now(UTC),
    )
    await call.services.provider.get(call.ref)
    call.services.log_streams.check(wanted.ref.namespace, call.caller.identity)
    calls = call.flag(CALLS) or bool(wanted.call_id)
    return Answer(
        200, _lines(logs, wanted, call.services.log_streams, call.caller.identity, calls=calls), "application/x-ndjson"
    )


def parse_query(
    ref: FunctionRef, *, instance: str, since: str, tail: str, follow: bool, call_id: str = "", now: datetime
) -> LogQuery:
    """The query that the parameters ask for; empty ones are absent. Raises `UnreadableQuery`."""
    count = 0
    if tail:
        if not _INTEGER.fullmatch(tail):
            raise UnreadableQuery(f"tail: must be a whole number, not ({tail[:40]!r})")
        count = max(0, int(tail))
    start = None if count or call_id else now - DEFAULT_SINCE
    if since:
        if not _RFC3339.fullmatch(since):
            raise UnreadableQuery("since: must be like 2006-01-02T15:04:05Z")
        try:
            start = datetime.fromisoformat(since)
        except ValueError as exc:
            raise UnreadableQuery(f"since: {exc}") from exc
    if len(instance) > _MAX_INSTANCE:
        raise UnreadableQuery(f"instance: at most {_MAX_INSTANCE} characters")
    if call_id and not is_call_id(call_id):
        raise UnreadableQuery(
            "call_id: must be as X-Call-Id gives it: at most 128 letters, digits, '-', '_', '.' and ':'"
        )
    return LogQuery(ref=ref, instance=instance, since=start, tail=count, follow=follow, call_id=call_id)


async def _lines(
    logs: Logs, wanted: LogQuery, streams: LogStreams, caller: str, *, calls: bool
) -> AsyncGenerator[bytes, None]:
    """The status line is gone by now: a failure can only end the stream, and be logged."""
    try:
        with streams.counted(wanted.ref.namespace, caller):
            unpaced = 0
            async for line in logs.read_logs(wanted):
                text = encode_line(line, calls=calls)
                yield text
                unpaced += len(text)
                if unpaced >= _PIECE:
                    await streams.sent(wanted.ref.namespace, unpaced)
                    unpaced = 0
    except errors.NotFound:
        return
    except HilbertError as exc:
        _log.warning("log stream ended", function=str(wanted.ref), reason=exc.message, detail=exc.detail)


def _named(call: Call) -> str:
    name = call.query(NAME)
    if not name:
        raise Invalid("name: is required", hint="add ?name=FUNCTION")
    return name


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/system/logs",
        handler=read_logs,
        access=Action.FUNCTION_LOGS,
        target=targets.function(_named),
        group="Functions",
        summary="Read a function's log lines as NDJSON",
        query=(NAME, NAMESPACE, INSTANCE, SINCE, TAIL, FOLLOW, CALL_ID, CALLS),
        answer=LogMessage,
        media="application/x-ndjson",
        errors=(
            errors.BackendUnavailable,
            errors.FunctionNotFound,
            errors.Overloaded,
            UnreadableQuery,
        ),
        retold={**RESERVED_WRITE, UnreadableQuery: Told(422, "could not parse the log request")},
    ),
)
