"""`logs`: what a function writes."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec

from hilbert.cli.failures import UsageError
from hilbert.cli.options import HERE, NO_SOURCE, Connection, Namespace, StackSource, flag
from hilbert.cli.stackfile import gateway_of
from hilbert.cli.target import connect
from hilbert.cli.terminal import harmless, out
from hilbert.cli.values import seconds, split_name
from hilbert.client.types import LogMessage

_FORMATS: Final = ("RFC3339", "RFC3339Nano", "Unix", "none")


def logs(
    name: Annotated[str, flag("Function, or FUNCTION.NAMESPACE.")],
    /,
    *,
    namespace: Namespace = "",
    since: Annotated[str, flag("Only lines younger than this, e.g. 10m.", "--since")] = "",
    since_time: Annotated[str, flag("Only lines after this moment (RFC 3339).", "--since-time")] = "",
    lines: Annotated[int, flag("At most so many lines of the past; -1 for all.", "--lines")] = -1,
    tail: Annotated[bool, flag("Go on with new lines as they come; --tail=false ends.", "--tail", "-t")] = True,
    show_name: Annotated[bool, flag("Show the function's name.", "--name")] = False,
    show_instance: Annotated[bool, flag("Show which replica wrote the line.", "--instance")] = False,
    replica: Annotated[str, flag("Only lines of this replica.", "--replica")] = "",
    output: Annotated[Literal["plain", "keyvalue", "json"], flag("Form of the lines.", "--output", "-o")] = "plain",
    json: Annotated[bool, flag("Same as --output json.", "--json", "-j")] = False,
    time_format: Annotated[
        str, flag("RFC3339, RFC3339Nano, Unix, none, or a pattern of strftime.", "--time-format")
    ] = "RFC3339",
    file: StackSource = NO_SOURCE,
    at: Connection = HERE,
) -> None:
    name, namespace = split_name(name, namespace)
    moment = _moment(since, since_time)
    if time_format not in _FORMATS and "%" not in time_format:
        raise UsageError(f"--time-format {time_format}: must be one of {', '.join(_FORMATS)}, or hold a %")
    with connect(at, stack=gateway_of(file)) as client:
        for message in client.logs(name, namespace, instance=replica, since=moment, tail=lines, follow=tail):
            if json or output == "json":
                text = msgspec.json.encode(message).decode()
                out(harmless(text) if sys.stdout.isatty() else text)
            elif output == "keyvalue":
                out(_keyvalue(message, time_format))
            else:
                out(_plain(message, time_format, show_name=show_name, show_instance=show_instance))
            sys.stdout.flush()


def _moment(since: str, since_time: str) -> datetime | None:
    if since and since_time:
        raise UsageError("--since and --since-time exclude each other")
    if since:
        return datetime.now(UTC) - timedelta(seconds=seconds(since, "--since"))
    if not since_time:
        return None
    try:
        moment = datetime.fromisoformat(since_time)
    except ValueError as exc:
        raise UsageError(f"--since-time {since_time}: must be like 2024-05-06T07:08:09Z") from exc
    return moment if moment.tzinfo else moment.astimezone()


def _plain(message: LogMessage, time_format: str, *, show_name: bool, show_instance: bool) -> str:
    parts = [_when(message, time_format)]
    parts += [message.name] if show_name else []
    parts += [f"({message.instance})"] if show_instance else []
    return harmless(" ".join(part for part in (*parts, message.text.rstrip("\n")) if part))


def _keyvalue(message: LogMessage, time_format: str) -> str:
    text = harmless(message.text.rstrip("\n")).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    when = harmless(_when(message, time_format))
    return f'timestamp="{when}" name="{harmless(message.name)}" instance="{harmless(message.instance)}" text="{text}" '


def _when(message: LogMessage, time_format: str) -> str:
    if time_format == "none":
        return ""
    if time_format == "RFC3339Nano":
        return message.timestamp
    try:
        moment = datetime.fromisoformat(message.timestamp)
    except ValueError:
        return message.timestamp
    if time_format == "Unix":
        return str(int(moment.timestamp()))
    if time_format == "RFC3339":
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return moment.strftime(time_format)
