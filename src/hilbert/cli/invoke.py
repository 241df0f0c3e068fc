"""`invoke`: call a function."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Final

from hilbert.cli.failures import Failed, UsageError
from hilbert.cli.options import HERE, NO_SOURCE, Connection, Namespace, StackSource, flag
from hilbert.cli.stackfile import gateway_of
from hilbert.cli.target import connect
from hilbert.cli.terminal import harmless, warn
from hilbert.cli.values import full_name, seconds, split_name
from hilbert.wire.headers import INTERNAL

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
    header: Annotated[tuple[str, ...], flag("Header 'NAME: VALUE'; may be given again.", "--header", "-H")] = (),
    query: Annotated[tuple[str, ...], flag("Query KEY=VALUE; may be given again.", "--query")] = (),
    path: Annotated[str, flag("Path behind the function's name.", "--path")] = "",
    queued: Annotated[bool, flag("Queue the call and do not wait for its answer.", "--async", "-a")] = False,
    sign: Annotated[str, flag("Header that takes an HMAC of the body, with --key.", "--sign")] = "",
    key: Annotated[str, flag("Key of --sign.", "--key")] = "",
    timeout: Annotated[str, flag("Most time to the answer, and between two pieces of it.", "--timeout")] = "5m",
    file: StackSource = NO_SOURCE,
    at: Connection = HERE,
) -> None:
    name, namespace = split_name(name, namespace)
    method = method.upper()
    if method not in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"):
        raise UsageError(f"--method {method}: must be GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS")
    if bool(sign) != bool(key):
        raise UsageError("signing requires both --sign <header-value> and --key <key-value>")
    headers = [_header(text) for text in header]
    if not any(given.lower() == "content-type" for given, _ in headers):
        headers.append(("Content-Type", content_type))
    queries = [_query(text) for text in query]
    limit = seconds(timeout, "--timeout")

    if queued or sign:
        whole = b"".join(_standard_input())
        if sign:
            headers.append((sign, _signature(whole, key)))
        body: bytes | Iterator[bytes] = whole
    else:
        body = _body()

    with connect(at, stack=gateway_of(file), timeout=limit) as client:
        if queued:
            call_id = client.invoke_async(
                name, body if isinstance(body, bytes) else b"", namespace=namespace, path=path, query=queries,
                headers=headers,
            )  # fmt: skip
            sys.stderr.write(f"Function submitted asynchronously.\nCall id: {harmless(call_id)}\n")
            return
        with client.stream(
            name, body, namespace=namespace, method=method, path=path, query=queries, headers=headers
        ) as answer:
            if not 200 <= answer.head.status < 300:
                raise _failure(full_name(name, namespace), answer.head.status, answer.head.headers, iter(answer))
            for piece in answer:
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()


def _body() -> bytes | Iterator[bytes]:
    """Standard input: whole when it is small, since not every function takes a chunked body; else as it comes."""
    pieces = _standard_input()
    first = next(pieces, b"")
    second = next(pieces, b"") if first else b""
    if not second:
        return first

    def rest() -> Iterator[bytes]:
        yield first
        yield second
        yield from pieces

    return rest()


def _standard_input() -> Iterator[bytes]:
    if sys.stdin is None or sys.stdin.closed:
        return
    if sys.stdin.isatty():
        sys.stderr.write("Reading from STDIN - hit (Control + D) to stop.\n")
    while piece := sys.stdin.buffer.read(_PIECE):
        yield piece


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        name, colon, value = text.partition("=")
        if colon:
            warn("a header as KEY=VALUE is deprecated; write 'KEY: VALUE'")
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
    where = f"Location is {headers['location']}, which is not followed" if "location" in headers else ""
    call = f"call id {headers['x-call-id']}" if "x-call-id" in headers else ""
    made_by = headers.get(INTERNAL.lower(), "")
    look = f"'hilbert logs {name}' shows what the function wrote" if status >= 500 and not made_by else ""
    who = f"it comes from the platform ({made_by}), not the function" if made_by else ""
    return Failed(
        f"server returned unexpected status code: {status}" + (f" - {text}" if text else ""),
        hint="; ".join(part for part in (who, where, look, call) if part),
    )
