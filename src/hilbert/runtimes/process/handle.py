"""What the process runtime keeps in a handle: all that it takes to find, ask, stop and clean up a replica again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from hilbert.core.ports import Handle

PLACEMENT: Final = ("runtime", "sandbox", "network", "egress", "memory-limit", "cpu-limit", "user")
"""What a handle says of how its replica really runs."""


class ReplicaData(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of `Handle.data`. What a handle from before a step lacks is empty here."""

    folder: str = ""
    """The replica's own; empty: nothing was made yet."""
    groups: tuple[str, ...] = ()
    """Paths of its control groups."""
    ready: str = "/_/ready"
    health: str = "/_/health"
    """Paths of the requests that ask how it is."""
    tenant: int = 0
    pid: int = 0
    """0: no process yet."""
    started: str = ""
    """When that process was started (`proc.start_time`), so that no later one is taken for it."""
    placement: Mapping[str, str] = {}

    @property
    def socket(self) -> str:
        return f"{self.folder}/sock"

    @classmethod
    def of(cls, handle: Handle) -> ReplicaData:
        data = handle.data
        return cls(
            folder=data.get("folder", ""),
            groups=tuple(filter(None, data.get("groups", "").split(":"))),
            ready=data.get("ready", "/_/ready"),
            health=data.get("health", "/_/health"),
            tenant=int(data.get("tenant", "0")),
            pid=int(data.get("pid", "0")),
            started=data.get("started", ""),
            placement={name: data[name] for name in PLACEMENT if name in data},
        )

    def put_into(self, handle: Handle) -> Handle:
        """The handle with this as its data."""
        data = {
            "folder": self.folder,
            "groups": ":".join(self.groups),
            "ready": self.ready,
            "health": self.health,
            "tenant": str(self.tenant),
            **({"pid": str(self.pid), "started": self.started} if self.pid else {}),
            **self.placement,
        }
        return msgspec.structs.replace(handle, data=data)
