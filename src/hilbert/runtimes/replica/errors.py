"""What the system refuses, as an error of the domain."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hilbert.core.errors import StartFailed


@contextlib.contextmanager
def start_errors() -> Iterator[None]:
    """Translate `OSError` into `StartFailed`."""
    try:
        yield
    except OSError as exc:
        raise StartFailed(f"a replica could not be started: {exc.strerror or exc}", detail=str(exc)) from exc
