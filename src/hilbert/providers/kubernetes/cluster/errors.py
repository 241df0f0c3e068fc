"""What the API server refuses, and the one place where that becomes an error of the domain (`translated`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from hilbert.core.errors import BackendUnavailable, Conflict, HilbertError, InvalidSpec, NamespaceNotFound
from hilbert.providers import quota

_MOST_TEXT: Final = 1000
_GONE: Final = re.compile(r'^namespaces "([^"]+)" not found')
_TERMINATING: Final = re.compile(r"in namespace (\S+) because it is being terminated")


class StatusCause(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    kind: str = ""
    causes: tuple[StatusCause, ...] | None = None
    retry_after_seconds: int | None = None


class Status(msgspec.Struct, frozen=True):
    """Why the API server said no."""

    code: int = 0
    reason: str | None = None
    message: str | None = None
    details: StatusDetails | None = None


class Refused(Exception):
    """The API server answered with an error."""

    def __init__(self, status: Status, *, retry_after: float | None = None) -> None:
        super().__init__(f"{status.code} {status.reason or ''}: {status.message or ''}")
        self.code = status.code
        self.reason = status.reason or ""
        self.message = status.message or f"the API server answered {status.code}"
        self.causes = (status.details.causes if status.details else None) or ()
        self.retry_after = retry_after

    @property
    def is_missing(self) -> bool:
        return self.code == 404

    @property
    def is_there_already(self) -> bool:
        return self.code == 409 and self.reason == "AlreadyExists"

    @property
    def is_over_quota(self) -> bool:
        """A ResourceQuota of the namespace has no room; a 403 like others but for its text."""
        return self.code == 403 and "exceeded quota" in self.message

    @property
    def lost_namespace(self) -> str:
        """The namespace that is gone, or takes nothing new since it is being deleted; empty: it is not that."""
        told = {403: _TERMINATING, 404: _GONE}.get(self.code)
        found = told.search(self.message) if told is not None else None
        return found[1] if found is not None else ""


class Unreachable(Exception):
    """The API server could not be reached, or did not answer in time."""


@contextmanager
def translated(
    what: str = "",
    *,
    missing: HilbertError | None = None,
    exists: HilbertError | None = None,
    conflict: HilbertError | None = None,
) -> Iterator[None]:
    """Turn refusals inside the block into errors of the domain.

    `what` names what was asked for; without it the block only reads. `missing`, `exists` and `conflict` are raised for
    404, 409 `AlreadyExists` and any other 409. Raises those, and `InvalidSpec`, `Conflict`, `QuotaExceeded`,
    `NamespaceNotFound` and `BackendUnavailable`.
    """
    try:
        yield
    except Unreachable as exc:
        raise _away(exc) from exc
    except Refused as exc:
        chosen = (
            missing if exc.is_missing else exists if exc.is_there_already else conflict if exc.code == 409 else None
        )
        if exc.code == 403 and exc.lost_namespace:
            chosen = being_deleted(exc.lost_namespace)
        raise chosen or _refusal(exc, what) from exc


def being_deleted(namespace: str) -> NamespaceNotFound:
    return NamespaceNotFound(
        f"namespace {namespace} is being deleted",
        hint=f"to wait until it is gone: hilbert namespace delete {namespace} --wait",
    )


def advice(error: Refused | Unreachable) -> str:
    """What an administrator can do when the cluster cannot be read so; empty: wait."""
    if isinstance(error, Unreachable):
        return "check that the API server runs, and that the gateway can reach it"
    if is_starting(error):
        return "the API server has just started and has not read its roles: it needs some seconds"
    if error.code == 404:
        return (
            "the definitions of Function and Profile are missing: run hilbert install kubernetes, or "
            "kubectl apply -k deploy/kubernetes/definitions"
        )
    if error.code == 401:
        return "the gateway's credentials are not accepted: renew its kubeconfig, or restart its Pods"
    if error.code == 403:
        return "the gateway has too few rights: run hilbert install kubernetes again, which renews its roles"
    return ""


def is_starting(error: Refused) -> bool:
    """A refusal of an API server that has not read its roles yet: it then misses those of the cluster's own."""
    return error.code == 403 and "RBAC: " in error.message and "not found" in error.message


def _refusal(error: Refused, what: str) -> HilbertError:
    said = error.message[:_MOST_TEXT]
    if error.lost_namespace:
        return NamespaceNotFound(f"namespace {error.lost_namespace} not found")
    if what and error.is_over_quota:
        return quota.exceeded(what, error.message)
    if what and error.code in (400, 422):
        return InvalidSpec(f"{what}: {said}")
    if what and error.code == 409:
        return Conflict(f"{what}: {said}")
    if error.code in (401, 403):
        return BackendUnavailable(
            "the gateway is not allowed to do this in the cluster",
            detail=str(error),
            hint=advice(error) + "; what it should have: hilbert install kubernetes --dry-run",
        )
    return BackendUnavailable("the Kubernetes API server could not do this now", detail=str(error))


def _away(error: Unreachable) -> BackendUnavailable:
    return BackendUnavailable("the Kubernetes API server cannot be reached right now", detail=str(error))
