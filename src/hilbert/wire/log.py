"""Log lines on the wire: one JSON object per line, all fields always there."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from hilbert.core.model import LogLine

_encode = msgspec.json.Encoder().encode


class WireLogLine(msgspec.Struct, frozen=True):
    """`Message` of OpenFaaS's log protocol."""

    name: str
    namespace: str
    instance: str
    timestamp: str
    text: str


def from_line(line: LogLine) -> WireLogLine:
    """`text` ends with its newline, as OpenFaaS's providers give it."""
    return WireLogLine(
        name=line.ref.name,
        namespace=line.ref.namespace,
        instance=line.instance,
        timestamp=rfc3339_nano(line.timestamp_ns),
        text=line.text + "\n",
    )


def encode_line(line: LogLine) -> bytes:
    """A line of NDJSON."""
    return _encode(from_line(line)) + b"\n"


def rfc3339_nano(timestamp_ns: int) -> str:
    """Unix nanoseconds as Go prints `time.RFC3339Nano`: in UTC, no trailing zeros in the fraction."""
    seconds, rest = divmod(timestamp_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{text}{fraction}Z"
