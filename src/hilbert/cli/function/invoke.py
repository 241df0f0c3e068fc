"""`invoke`: call a function."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Final

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import HERE, NO_SOURCE, Connection, Namespace, StackSource, flag
from hilbert.cli.frame.parsing import seconds
from hilbert.cli.function.name import full_name, split_name
from hilbert.cli.function.trouble import trouble_of
from hilbert.cli.gateway.target import connect
from hilbert.cli.stack.file import gateway_of
from hilbert.cli.terminal.output import harmless, out, warn
from hilbert.client.tokens import wants_token
from hilbert.core.errors import NotFound
from hilbert.wire.headers import ERROR, INTERNAL, NOT_STARTING

if TYPE_CHECKING:
    from hilbert.client.sync import Client
    from hilbert.client.transport import Stream

_PIECE: Final = 64 * 1024
_MOST_SHOWN: Final = 2000
"""Bytes of a failure's body that are shown."""


def invoke(
    name: str,
    /,
    *,
    namespace: Namespace = "",
    method: Annotated[str, flag("GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS.", "--method", "-m")] = "POST",
    content_type: Annotated[str, flag("Content-Type of the body.", "--content-type")] = "text/plain",
    header: Annotated[tuple[str, ...], flag("Header 'NAME: VALUE'; repeatable.", "--header", "-H")] = (),
    query: Annotated[tuple[str, ...], flag("Query parameter KEY=VALUE; repeatable.", "--query")] = (),
    path: Annotated[str, flag("Path after the function's name.", "--path")] = "",
    queued: Annotated[bool, flag("Queue the call instead of waiting for its answer.", "--async", "-a")] = False,
    wait: Annotated[bool, flag("With --async: wait until the call has ended, and write its answer.", "--wait")] = False,
    sign: Annotated[str, flag("Header to put an HMAC of the body into; needs --key.", "--sign")] = "",
    key: Annotated[str, flag("Key for --sign.", "--key")] = "",
    auth: Annotated[bool, flag("First get a token for the function from the identity service.", "--auth")] = False,
    timeout: Annotated[str, flag("How long to wait for the answer, and for each next part of it.", "--timeout")] = "5m",
    file: StackSource = NO_SOURCE,
    at: Connection = HERE,
) -> None:
    name, namespace = split_name(name, namespace)
    method = method.upper()
    if method not in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"):
        raise UsageError(f"--method {method}: must be GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS")
    if wait and not queued:
        raise UsageError("--wait is for --async; without it, the answer is waited for anyway")
    if bool(sign) != bool(key):
        raise UsageError("signing requires both --sign <header-value> and --key <key-value>")
    headers = [_header(text) for text in header]
    names = {given.lower() for given, _ in headers}
    if auth and "authorization" in names:
        raise UsageError("use either --auth or an Authorization header, not both")
    if "content-type" not in names:
        headers.append(("Content-Type", content_type))
    queries = [_query(text) for text in query]
    limit = seconds(timeout, "--timeout")
    body = _body(whole=queued or bool(sign))
    if sign and isinstance(body, bytes):
        headers.append((sign, _signature(body, key)))

    with connect(at, stack=gateway_of(file), timeout=limit) as client:
        if auth:
            headers.append(_authorization(client, name, namespace))
        if queued and isinstance(body, bytes):
            call_id = client.invoke_async(name, body, namespace=namespace, path=path, query=queries, headers=headers)
            sys.stderr.write("Function submitted asynchronously.\n")
            if not wait:
                out(harmless(call_id))
                return
            sys.stderr.write(f"Call id: {harmless(call_id)}\n")
            _show_result(client, call_id, limit)
            return

        def call() -> AbstractContextManager[Stream]:
            return client.stream(
                name, body, namespace=namespace, method=method, path=path, query=queries, headers=headers,
                follow_redirects=True,
            )  # fmt: skip

        with call() as answer:
            if answer.head.headers.get(ERROR.lower()) == NOT_STARTING and (why := trouble_of(client, name, namespace)):
                where = full_name(name, namespace)
                raise Failed(
                    f"server returned unexpected status code: {answer.head.status} - {where} does not start: {why}",
                    hint=f"it is retried automatically; see its output with 'hilbert logs {where}'",
                )
            if auth or "authorization" in names or not wants_token(answer.head):
                _show(answer, full_name(name, namespace))
                return
        if isinstance(body, Iterator):
            raise Failed(
                "the function requires a token, and a body read from a pipe cannot be sent again",
                hint="use --auth to get the token before the call",
            )
        headers.append(_authorization(client, name, namespace))
        with call() as answer:
            _show(answer, full_name(name, namespace))


def _show_result(client: Client, call_id: str, limit: float) -> None:
    """The answer to a queued call, once it has ended. Raises `Failed` for anything but a success."""
    call = client.wait_call(call_id, timeout=limit)
    answer = None
    if call.has_result:
        with contextlib.suppress(NotFound):
            answer = client.call_result(call_id)
    if answer is not None and call.state == "succeeded":
        sys.stdout.buffer.write(answer.body)
        sys.stdout.buffer.flush()
        return
    name = f"{call.function}.{call.namespace}"
    if call.state == "succeeded":
        warn(f"its answer is not kept; to keep answers, give {name} the annotation com.hilbert.async.results, e.g. 1h")
        return
    if answer is not None:
        raise _failure(name, answer.status, answer.headers, iter((answer.body,)))
    raise Failed(f"the call is {call.state}: {call.reason}", hint=f"see 'hilbert calls show {call_id}'")


def _authorization(client: Client, name: str, namespace: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {client.function_token(name, namespace).access_token}"


def _show(answer: Stream, name: str) -> None:
    """The body of a success, as it comes. Raises `Failed` for anything else."""
    if not 200 <= answer.head.status < 300:
        raise _failure(name, answer.head.status, answer.head.headers, iter(answer))
    for piece in answer:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


class _File:
    """Standard input where it is a file: it can be read again from where it stood."""

    def __init__(self, begin: int) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[bytes]:
        sys.stdin.buffer.seek(self._begin)
        yield from _standard_input()


def _body(*, whole: bool) -> bytes | Iterable[bytes]:
    """Standard input: whole when it is small, since not every function takes a chunked body; else as it comes."""
    if sys.stdin is None or sys.stdin.closed:
        return b""
    begin = sys.stdin.buffer.tell() if sys.stdin.buffer.seekable() else None
    pieces = _standard_input()
    if whole:
        return b"".join(pieces)
    first = next(pieces, b"")
    second = next(pieces, b"") if first else b""
    if not second:
        return first
    if begin is not None:
        return _File(begin)

    def rest() -> Iterator[bytes]:
        yield first
        yield second
        yield from pieces

    return rest()


def _standard_input() -> Iterator[bytes]:
    if sys.stdin.isatty():
        sys.stderr.write("Reading from STDIN - hit (Control + D) to stop.\n")
    while piece := sys.stdin.buffer.read(_PIECE):
        yield piece
        if len(piece) < _PIECE:  # The end; a terminal would have to be told so a second time.
            return


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        name, colon, value = text.partition("=")
        if colon:
            warn("KEY=VALUE is deprecated for headers; write 'KEY: VALUE'")
    if not colon or not name.strip():
        raise UsageError(f"--header {text}: must be 'NAME: VALUE'")
    return name.strip(), value.strip()


def _query(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--query {text}: must be KEY=VALUE")
    return key, value


def _signature(body: bytes, key: str) -> str:
    import hmac

    return "sha256=" + hmac.new(key.encode(), body, "sha256").hexdigest()


def _failure(name: str, status: int, headers: Mapping[str, str], pieces: Iterator[bytes]) -> Failed:
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > _MOST_SHOWN:
            break
    text = bytes(body[:_MOST_SHOWN]).decode("utf-8", "replace").strip()
    if status == 404 and text.startswith(
        "error finding function "
    ):  # OpenFaaS's text, in which the status comes twice.
        return Failed(f"function {name} not found", hint="list the functions of all namespaces with 'hilbert list -A'")
    where = f"it redirects to {headers['location']}" if "location" in headers else ""
    if status in (307, 308):
        where += ", and a body read from a pipe cannot be sent again; use a file instead (< FILE)"
    call = f"call id {headers['x-call-id']}" if "x-call-id" in headers else ""
    made_by = headers.get(INTERNAL.lower(), "")
    look = f"see the function's output with 'hilbert logs {name}'" if status >= 500 and not made_by else ""
    who = f"this answer comes from the platform ({made_by}), not from the function" if made_by else ""
    return Failed(
        f"server returned unexpected status code: {status}" + (f" - {text}" if text else ""),
        hint="; ".join(part for part in (who, where, look, call) if part),
    )
