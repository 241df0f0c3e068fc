"""The audit log on the wire: OpenFaaS's field names for `api_access` where it has one; the others are ours."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec


class Stage(enum.StrEnum):
    """How far it has come."""

    BEGUN = "begun"
    """A change that is allowed and about to be made. `done` follows under the same id."""
    DONE = "done"


class Decision(enum.StrEnum):
    """What was decided on the caller's right."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    """The caller is known and lacks the right; also where the answer was that the thing does not exist."""
    UNAUTHENTICATED = "unauthenticated"
    """Without valid credentials, or after too many wrong ones."""
    NONE = "none"
    """It did not come so far, or needs no right."""


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who asked; all empty for a stranger."""

    sub: str = ""
    """The identity, unique among callers."""
    name: str = ""
    issuer: str = ""
    fed_issuer: str = ""
    """The identity provider, where there is one."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record."""

    id: str
    """UUID of version 7, the same for `begun` and `done`."""
    time: str
    """RFC 3339 in UTC: when the request came."""
    stage: Stage = Stage.DONE
    actor: Actor = Actor()
    token_id: str = ""
    source_ip: str = ""
    user_agent: str = ""
    request_id: str = ""
    method: str = ""
    path: str = ""
    """Without the query."""
    actions: tuple[str, ...] = ()
    namespace: str = ""
    resource: str = ""
    """On what the right was asked: `NAMESPACE:FUNCTION`, `NAMESPACE:*` or `*`; several are separated by spaces."""
    name: str = ""
    """Of the function, secret, token or other object that it is about, where there is one."""
    decision: Decision
    policy: tuple[str, ...] = ()
    """What gave the right: `policy NAME/SID`, `role NAME`, or `administrator`."""
    change: tuple[str, ...] = ()
    """Names of the fields that the request gave."""
    response_code: int = 0
    """HTTP status; 0 while it is begun, and where the gateway ended before it answered."""
    error: str = ""
    """The kind of failure, as in the JSON form of errors."""
    custom_message: str = ""
    duration_ms: float = 0.0
    suppressed: int = 0
    """So many like it came before, and were counted only."""

    @property
    def is_refusal(self) -> bool:
        return self.decision in (Decision.REFUSED, Decision.UNAUTHENTICATED)


class AuditLine(msgspec.Struct, frozen=True, kw_only=True):
    """A record with its place in the log."""

    seq: int
    """Number of its line."""
    record: Record


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /system/audit`."""

    lines: Sequence[AuditLine]
    """The oldest first."""
    next: int
    """For `after`, to follow."""
    complete: bool
    """False: others that match were left out."""
