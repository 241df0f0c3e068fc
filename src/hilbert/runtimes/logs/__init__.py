"""What replicas on this machine write: one file for each, bounded, read merged by time.

What belongs here: the files under `STATE/logs`, which a runtime opens for its replicas and the host provider reads.
What does not: the platform's own log (`kit.log`).
"""

from hilbert.runtimes.logs.folder import LogFolder

__all__ = ["LogFolder"]
