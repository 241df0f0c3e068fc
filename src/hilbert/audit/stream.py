"""Where the platform keeps nothing on a disk of its own: a line of JSON on standard error for each record.

On Kubernetes there are several gateways, and their Pods move from node to node. The cluster collects what they write, and
keeps it for as long as its owner wants; a chain of hashes in each Pod would end with the Pod.
"""

from __future__ import annotations

import sys
from typing import TextIO

import msgspec

from hilbert.audit.record import Record, encode
from hilbert.core.errors import StorageFull


class StreamSink:
    """Writes lines whatever the log's level is."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    async def append(self, record: Record) -> None:
        line = encode({"event": "audit", "logger": "hilbert.audit", "record": msgspec.to_builtins(record)}).decode()
        stream = self._stream or sys.stderr
        try:
            stream.write(f"{line}\n")
            stream.flush()
        except (OSError, ValueError) as exc:
            raise StorageFull("the audit record cannot be written to standard error", detail=str(exc)) from exc
