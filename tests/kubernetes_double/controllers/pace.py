"""How long things take in the double, in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """Quick by default; a test that looks at what happens in between slows it down."""

    schedule: float = 0.0
    """Until a Pod is assigned to a node."""
    create: float = 0.0
    """Until its sandbox is there."""
    start: float = 0.005
    """Until its containers run (a real process takes its own time on top)."""
    ready: float = 0.005
    """Until a container without a real process counts as ready, when it has a readiness probe."""
    probe: float = 0.05
    """Between readiness probes of a real process, whatever periodSeconds says."""
    first_probe: float = 0.0
    """Until a real process is probed for the first time."""
    stop: float = 0.005
    """Until a container without a real process has ended after SIGTERM."""
    grace_scale: float = 1.0
    """Multiplies terminationGracePeriodSeconds for real processes."""
    pre_stop_scale: float = 0.1
    """Multiplies the sleep of a preStop hook of real processes."""
    back_off: float = 0.05
    """First back-off of pulls and restarts; doubles up to sixteen times this."""
    notice: float = 0.0
    """Between the end of a container and CrashLoopBackOff."""
    namespace_delete: float = 0.0
    """Until the content of a namespace that is being deleted is touched."""
    namespace_check: float = 0.05
    establish: float = 0.0
    """Until a CustomResourceDefinition is established."""
    retry_create: float = 0.2
    """Until a ReplicaSet tries again to create a refused Pod."""
    deadline_scale: float = 1.0
    """Multiplies progressDeadlineSeconds."""
    watch_scale: float = 1.0
    """Multiplies timeoutSeconds of watches."""
    patience: float = 3.0
    """How long a read waits for a version of the future."""
