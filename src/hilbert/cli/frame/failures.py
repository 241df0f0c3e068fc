"""Failures that only the command line knows."""

from __future__ import annotations

from hilbert.core.errors import HilbertError


class UsageError(HilbertError):
    """The command was written wrongly. Exit status 2."""

    code = "usage"


class Failed(HilbertError):
    """The command could not do what was asked. Exit status 1."""

    code = "failed"


class StartFailed(Failed):
    """The platform did not come up. Exit status 3."""

    code = "start-failed"
