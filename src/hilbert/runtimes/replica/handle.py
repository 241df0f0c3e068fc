"""What a runtime keeps in a handle: all that it takes to find, ask, stop and clean up a replica again."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Final

import msgspec

from hilbert.core.ports import Handle

PLACEMENT: Final = (
    "runtime", "sandbox", "network", "egress", "memory-limit", "cpu-limit", "user", "image", "image-size", "root",
)  # fmt: skip
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
    lenient: bool = False
    """Any answer to them will do that is no failure of the server's own: nobody has promised that these paths are there."""
    dial: str = ""
    """Where sockets of its network come from."""
    port: int = 0
    """Where it listens on its own loopback; 0: at its socket."""
    main: str = ""
    """`child`: to be told to end, it is the first child of the process. Empty: the process itself."""
    end: int = signal.SIGTERM
    """The signal that asks it to end."""
    everyone: bool = False
    """All users inside read its secrets."""
    tenant: int = 0
    pid: int = 0
    """0: no process yet."""
    started: str = ""
    """When that process was started (`proc.start_time`), so that no later one is taken for it."""
    placement: Mapping[str, str] = {}

    @property
    def socket(self) -> str:
        return f"{self.folder}/sock"

    def address(self, replica: str) -> str:
        """Where the replica of that name is called."""
        return f"inside:{self.dial}:{replica}:{self.port}" if self.port else f"unix:{self.socket}"

    @classmethod
    def of(cls, handle: Handle) -> ReplicaData:
        data = handle.data
        return cls(
            folder=data.get("folder", ""),
            groups=tuple(filter(None, data.get("groups", "").split(":"))),
            ready=data.get("ready", "/_/ready"),
            health=data.get("health", "/_/health"),
            lenient="lenient" in data,
            dial=data.get("dial", ""),
            port=int(data.get("port", "0")),
            main=data.get("main", ""),
            end=int(data.get("end", int(signal.SIGTERM))),
            everyone="everyone" in data,
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
            **({"lenient": "yes"} if self.lenient else {}),
            **({"port": str(self.port), "dial": self.dial} if self.port else {}),
            **({"main": self.main} if self.main else {}),
            **({"everyone": "yes"} if self.everyone else {}),
            **({"end": str(int(self.end))} if self.end != signal.SIGTERM else {}),
            **({"pid": str(self.pid), "started": self.started} if self.pid else {}),
            **self.placement,
        }
        return msgspec.structs.replace(handle, data=data)
