"""`logs`: what a function writes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import HERE, NO_SOURCE, Connection, Namespace, StackSource, flag
from hilbert.cli.frame.parsing import seconds
from hilbert.cli.function.name import full_name, split_name
from hilbert.cli.function.trouble import trouble_of
from hilbert.cli.gateway.target import connect
from hilbert.cli.stack.file import gateway_of
from hilbert.cli.terminal.output import harmless, out, warn
from hilbert.wire.log import LogMessage

Clock = Callable[[str], str]
"""A timestamp (RFC 3339) as it is shown."""

_FRACTION: Final = re.compile(r"T[0-9:]+[.,](\d{1,9})")


def logs(
    name: Annotated[str, flag("Function, or FUNCTION.NAMESPACE.")],
    /,
    *,
    namespace: Namespace = "",
    since: Annotated[str, flag("Only lines from the last 10m (or any other duration).", "--since")] = "",
    since_time: Annotated[str, flag("Only lines after this time (RFC 3339).", "--since-time")] = "",
    lines: Annotated[int, flag("Number of past lines to show; -1 for all.", "--lines")] = -1,
    tail: Annotated[
        bool, flag("Follow the log until Ctrl-C, also into a pipe; --tail=false prints it and exits.", "--tail", "-t")
    ] = True,
    show_name: Annotated[bool, flag("Show the function's name.", "--name")] = False,
    show_instance: Annotated[bool, flag("Show which replica wrote the line.", "--instance")] = False,
    replica: Annotated[str, flag("Only lines from this replica.", "--replica")] = "",
    call_id: Annotated[str, flag("Only lines of this call; X-Call-Id in its answer names it.", "--call-id")] = "",
    show_calls: Annotated[bool, flag("Show which call wrote the line.", "--calls")] = False,
    output: Annotated[Literal["plain", "keyvalue", "json"], flag("Output format.", "--output", "-o")] = "plain",
    json: Annotated[bool, flag("Same as --output json.", "--json", "-j")] = False,
    time_format: Annotated[
        str, flag("Go time layout or its name, Unix, none, or a strftime pattern.", "--time-format")
    ] = "RFC3339",
    file: StackSource = NO_SOURCE,
    at: Connection = HERE,
) -> None:
    name, namespace = split_name(name, namespace)
    moment = _moment(since, since_time)
    when = _clock(time_format)
    as_json = json or output == "json"
    with connect(at, stack=gateway_of(file)) as client:
        if why := trouble_of(client, name, namespace):
            warn(harmless(f"{full_name(name, namespace)} does not start: {why}"))
        messages = client.logs(
            name,
            namespace,
            instance=replica,
            since=moment,
            tail=lines,
            follow=tail,
            call_id=call_id,
            with_calls=as_json or show_calls,
        )
        found = False
        for message in messages:
            found = True
            if as_json:
                text = msgspec.json.encode(message).decode()
                out(harmless(text) if sys.stdout.isatty() else text)
            elif output == "keyvalue":
                out(_keyvalue(message, when))
            else:
                out(_plain(message, when, show_name=show_name, show_instance=show_instance, show_call=show_calls))
            sys.stdout.flush()
    if call_id and not found:
        warn(
            f"no line in the log of {harmless(full_name(name, namespace))} names the call {harmless(call_id)}; "
            "a program of a container image has to print the header X-Call-Id for that"
        )


def _moment(since: str, since_time: str) -> datetime | None:
    if since and since_time:
        raise UsageError("use either --since or --since-time, not both")
    if since:
        return datetime.now(UTC) - timedelta(seconds=seconds(since, "--since"))
    if not since_time:
        return None
    try:
        moment = datetime.fromisoformat(since_time)
    except ValueError as exc:
        raise UsageError(f"--since-time {since_time}: must be like 2024-05-06T07:08:09Z") from exc
    return moment if moment.tzinfo else moment.astimezone()


def _clock(given: str) -> Clock:
    """How `--time-format` writes a message's time. Raises `UsageError`."""
    if given in ("", "none"):
        return lambda _: ""
    if given.lower() == "unix":
        return _reading(lambda moment, _: str(int(moment.timestamp())))
    if "%" in given:
        return _reading(lambda moment, _: moment.strftime(given))
    from hilbert.cli.terminal.go_time import NAMED, is_layout, write_time

    layout = next((layout for name, layout in NAMED.items() if name.lower() == given.lower()), given)
    if not is_layout(layout):
        raise UsageError(
            f"--time-format {given}: must be a Go time layout such as '2006-01-02 15:04:05', 'Unix', 'none', or a strftime pattern with a %",
            hint=f"named layouts: {', '.join(NAMED)}",
        )
    return _reading(lambda moment, nanoseconds: write_time(moment, layout, nanoseconds=nanoseconds))


def _reading(write: Callable[[datetime, int], str]) -> Clock:
    """Write a timestamp after it was read; as it is, where it cannot be."""

    def clock(timestamp: str) -> str:
        try:
            moment = datetime.fromisoformat(timestamp)
        except ValueError:
            return timestamp
        fraction = _FRACTION.search(timestamp)
        return write(
            moment if moment.tzinfo else moment.replace(tzinfo=UTC), int(fraction[1].ljust(9, "0")) if fraction else 0
        )

    return clock


def _plain(message: LogMessage, when: Clock, *, show_name: bool, show_instance: bool, show_call: bool) -> str:
    parts = [when(message.timestamp)]
    parts += [message.name] if show_name else []
    parts += [f"({message.instance})"] if show_instance else []
    parts += [f"[{message.call_id}]"] if show_call and message.call_id else []
    return harmless(" ".join(part for part in (*parts, message.text.rstrip("\n")) if part))


def _keyvalue(message: LogMessage, when: Clock) -> str:
    text = harmless(message.text.rstrip("\n")).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    stamp = harmless(when(message.timestamp))
    return f'timestamp="{stamp}" name="{harmless(message.name)}" instance="{harmless(message.instance)}" text="{text}" '
