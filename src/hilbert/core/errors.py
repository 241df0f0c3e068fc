"""The errors of the domain. They know no HTTP; `api.problems` maps them to statuses in one table.

    HilbertError                       code, message (public), detail (log only), retryable
    ├── Invalid                        InvalidName · InvalidSpec · InvalidStack · InvalidSettings
    ├── NotFound                       FunctionNotFound · NamespaceNotFound · SecretNotFound · CallNotFound
    ├── Conflict                       AlreadyExists · KeyReused · LeaseLost
    ├── Denied                         Unauthenticated · Forbidden · ReservedNamespace
    ├── Unsupported                    a capability is missing
    ├── Overloaded                     QuotaExceeded · QueueFull · RateLimited            retry_after
    ├── BackendError                   BackendUnavailable · ImageUnavailable · StartFailed · StorageFull
    └── InvocationError                UpstreamUnreachable · UpstreamTimeout · ActivationTimeout

The tree is shallow on purpose. Mistakes of the programmer stay `TypeError`, `ValueError` and `RuntimeError`.
"""

from __future__ import annotations

from typing import ClassVar


class HilbertError(Exception):
    """A failure with a public sentence for the caller and a private detail for the log."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, detail: str = "", hint: str = "") -> None:
        """`message` may be shown to anybody; `detail` goes to the log only; `hint` says what to do next."""
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint


class Invalid(HilbertError):
    """The request can never succeed as it stands."""

    code = "invalid"


class TooLarge(Invalid):
    """A body is larger than what is taken."""

    code = "body-too-large"


class InvalidName(Invalid):
    """A name does not follow its grammar."""

    code = "invalid-name"


class InvalidSpec(Invalid):
    """A function's specification has a value that cannot be honoured."""

    code = "invalid-spec"


class InvalidStack(Invalid):
    """A stack file is wrong."""

    code = "invalid-stack"


class InvalidSettings(Invalid):
    """The configuration of the platform is wrong."""

    code = "invalid-settings"


class NotFound(HilbertError):
    """What was named does not exist, or is not the caller's to see."""

    code = "not-found"


class FunctionNotFound(NotFound):
    """No such function in that namespace."""

    code = "function-not-found"


class NamespaceNotFound(NotFound):
    """No such function namespace."""

    code = "namespace-not-found"


class SecretNotFound(NotFound):
    """No such secret in that namespace."""

    code = "secret-not-found"


class CallNotFound(NotFound):
    """No such queued call in that namespace."""

    code = "call-not-found"


class Conflict(HilbertError):
    """The request contradicts what is there."""

    code = "conflict"


class AlreadyExists(Conflict):
    """The name is taken."""

    code = "already-exists"


class KeyReused(Conflict):
    """An idempotency key came again with another request."""

    code = "key-reused"


class LeaseLost(Conflict):
    """The attempt at a queued call is no longer its holder's to settle."""

    code = "lease-lost"


class Denied(HilbertError):
    """The caller may not do this."""

    code = "denied"


class Unauthenticated(Denied):
    """No valid credentials."""

    code = "unauthenticated"


class Forbidden(Denied):
    """Valid credentials without the right."""

    code = "forbidden"


class ReservedNamespace(Denied):
    """The namespace belongs to the cluster or to the platform itself."""

    code = "reserved-namespace"


class Unsupported(HilbertError):
    """The provider or this installation lacks the capability."""

    code = "unsupported"


class Overloaded(HilbertError):
    """A limit is reached. The message names the limit, its value, its scope and who can raise it."""

    code = "overloaded"
    retryable = True

    def __init__(self, message: str, *, detail: str = "", hint: str = "", retry_after: float | None = None) -> None:
        """`retry_after` is in seconds; None when waiting does not help."""
        super().__init__(message, detail=detail, hint=hint)
        self.retry_after = retry_after


class QuotaExceeded(Overloaded):
    """A namespace's quota is used up."""

    code = "quota-exceeded"
    retryable = False


class QueueFull(Overloaded):
    """A bounded queue has no room."""

    code = "queue-full"


class RateLimited(Overloaded):
    """Too many requests in a period."""

    code = "rate-limited"

    def __init__(
        self,
        message: str,
        *,
        detail: str = "",
        hint: str = "",
        retry_after: float | None = None,
        policy: tuple[str, int, int] | None = None,
    ) -> None:
        """`policy`: the limit's name, how many requests it allows, and in how many seconds."""
        super().__init__(message, detail=detail, hint=hint, retry_after=retry_after)
        self.policy = policy


class BackendError(HilbertError):
    """What runs the functions failed."""

    code = "backend"


class BackendUnavailable(BackendError):
    """What runs the functions cannot be reached now."""

    code = "backend-unavailable"
    retryable = True


class ImageUnavailable(BackendError):
    """No provider in use here can run this image."""

    code = "image-unavailable"


class StartFailed(BackendError):
    """A replica could not be started."""

    code = "start-failed"


class StorageFull(BackendError):
    """The disk of the state directory is full or broken; nothing was changed."""

    code = "storage-full"
    retryable = True


class InvocationError(HilbertError):
    """A call failed in the gateway, not in the function."""

    code = "invocation"


class UpstreamUnreachable(InvocationError):
    """No replica took the call."""

    code = "upstream-unreachable"
    retryable = True


class UpstreamTimeout(InvocationError):
    """The function did not answer within a stated limit."""

    code = "upstream-timeout"


class ActivationTimeout(InvocationError):
    """A function at zero replicas did not become ready in time."""

    code = "activation-timeout"
    retryable = True
