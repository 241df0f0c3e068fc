"""Log lines on the wire: one JSON object per line."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from hilbert.core.model import LogLine

_encode = msgspec.json.Encoder().encode


class LogMessage(msgspec.Struct, frozen=True):
    """One line that a replica wrote: `Message` of OpenFaaS's log protocol. All fields but `call_id` are always written."""

    name: str = ""
    namespace: str = ""
    instance: str = ""
    """The replica."""
    timestamp: str = ""
    """RFC 3339, as precise as the gateway gives it."""
    text: str = ""
    """With its newline, if the gateway keeps it."""
    call_id: str | msgspec.UnsetType = msgspec.UNSET
    """The call that wrote the line, empty for a line of no call. Hilbert's own, and only for a client that asks for it."""


def from_line(line: LogLine, *, calls: bool = False) -> LogMessage:
    """With `calls` it says which call wrote the line. `text` ends with its newline, as OpenFaaS's providers give it."""
    return LogMessage(
        name=line.ref.name,
        namespace=line.ref.namespace,
        instance=line.instance,
        timestamp=rfc3339_nano(line.timestamp_ns),
        text=line.text + "\n",
        call_id=line.call_id if calls else msgspec.UNSET,
    )


def encode_line(line: LogLine, *, calls: bool = False) -> bytes:
    """A line of NDJSON."""
    return _encode(from_line(line, calls=calls)) + b"\n"


def rfc3339_nano(timestamp_ns: int) -> str:
    """Unix nanoseconds as Go prints `time.RFC3339Nano`: in UTC, no trailing zeros in the fraction."""
    seconds, rest = divmod(timestamp_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{text}{fraction}Z"
