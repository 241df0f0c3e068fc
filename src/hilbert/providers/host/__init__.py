"""The provider for one machine: promises in SQLite, a level-triggered reconcile loop, any `Runtime` below it.

What belongs here: what is the same for processes and containers: generations, roll-out, restarts, draining, namespaces,
secrets. What does not: how a replica is started, isolated or measured (`runtimes.process`).
"""

from hilbert.providers.host.provider import HostProvider
from hilbert.providers.host.store import open_database

__all__ = ["HostProvider", "open_database"]
