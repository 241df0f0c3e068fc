"""The seams between the parts, as Protocols.

Two tiers, because Kubernetes reconciles for us and a host does not: a `Provider` is what the control plane sees; a
`Runtime` is what a single-host back end writes, and `providers.host` makes a Provider of it.

Features that not every provider has are capability Protocols. `capability(provider, Logs)` gives the object or raises
`Unsupported`; nothing pretends.
"""

from hilbert.core.ports.capabilities import (
    Counted,
    CountsLogs,
    CpuTimes,
    Diagnostics,
    Disregards,
    Logs,
    Namespaces,
    Noticing,
    Restarts,
    Retiring,
    Secrets,
    SecretValues,
    SharedCounts,
    SharedUsage,
    SlowDeletion,
    Specs,
    capability,
    spec_of,
)
from hilbert.core.ports.leader import Leader
from hilbert.core.ports.provider import Provider
from hilbert.core.ports.queue import Queue, QueueRecords
from hilbert.core.ports.replica_logs import ReplicaLogs
from hilbert.core.ports.routes import RouteSink
from hilbert.core.ports.runtime import Handle, Observed, ReplicaPlan, Runtime
from hilbert.core.ports.schedules import Marks
from hilbert.core.ports.shelf import SharedShelves, Shelf, Topic

__all__ = [
    "Counted",
    "CountsLogs",
    "CpuTimes",
    "Diagnostics",
    "Disregards",
    "Handle",
    "Leader",
    "Logs",
    "Marks",
    "Namespaces",
    "Noticing",
    "Observed",
    "Provider",
    "Queue",
    "QueueRecords",
    "ReplicaLogs",
    "ReplicaPlan",
    "Restarts",
    "Retiring",
    "RouteSink",
    "Runtime",
    "SecretValues",
    "Secrets",
    "SharedCounts",
    "SharedShelves",
    "SharedUsage",
    "Shelf",
    "SlowDeletion",
    "Specs",
    "Topic",
    "capability",
    "spec_of",
]
