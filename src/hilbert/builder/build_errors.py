"""What can go wrong between source and function.

HilbertError
├── BuildFailed            a step of a build ended badly; `log` holds the end of what it wrote
├── Invalid                InvalidTemplate · InvalidHandler
├── NotFound               TemplateNotFound · ImageNotFound
└── Unsupported            BuilderMissing
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC

from hilbert.core.errors import HilbertError, Invalid, NotFound, StorageFull, Unsupported


class BuildFailed(HilbertError):
    """A step of a build ended badly."""

    code = "build-failed"

    def __init__(self, message: str, *, detail: str = "", hint: str = "", log: Sequence[str] = ()) -> None:
        """`log` is the end of what the step wrote, line by line."""
        super().__init__(message, detail=detail, hint=hint)
        self.log = tuple(log)


class InvalidTemplate(Invalid):
    """A template cannot be used as it stands."""

    code = "invalid-template"


class InvalidHandler(Invalid):
    """A handler's folder cannot be built as it stands."""

    code = "invalid-handler"


class TemplateNotFound(NotFound):
    """No such template here."""

    code = "template-not-found"


class ImageNotFound(NotFound):
    """No such image in the image store."""

    code = "image-not-found"


class BuilderMissing(Unsupported):
    """No program is there that builds container images."""

    code = "builder-missing"


@contextmanager
def storage_faults(what: str) -> Iterator[None]:
    """Turn failures of the file system while `what` is done into errors with a sentence."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (ENOSPC, EDQUOT):
            raise StorageFull(
                f"the disk is full: {what} was given up and nothing was changed",
                detail=str(exc),
                hint="free some space, e.g. with 'hilbert images prune', and build again",
            ) from exc
        where = f" {exc.filename}" if exc.filename else ""
        raise BuildFailed(f"{what} failed:{where}: {exc.strerror or exc}", detail=str(exc)) from exc
