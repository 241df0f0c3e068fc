"""Names of the HTTP headers that have a meaning between clients, gateway and functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

CALL_ID: Final = "X-Call-Id"
"""Names one call in logs and answers. Taken from the caller if it is sane, else made by the gateway."""

START_TIME: Final = "X-Start-Time"
"""Unix time in nanoseconds at which the gateway saw the call."""

DURATION_SECONDS: Final = "X-Duration-Seconds"
"""Set by the watchdog: how long the function took."""

INTERNAL: Final = "X-OpenFaaS-Internal"
"""On an answer that the platform made, not the function: the part that made it."""

ERROR: Final = "X-Hilbert-Error"
"""On the same: the error's code (docs/reference/errors.md)."""

NOT_STARTING: Final = "not-starting"
"""The code for a function that is known not to start."""

CALLBACK_URL: Final = "X-Callback-Url"
"""On a queued call: where its result goes."""

WARNING: Final = "X-Hilbert-Warning"
"""On the answer to a deployment: what was accepted and has no effect, in one line."""

SCHEDULED_TIME: Final = "X-Scheduled-Time"
"""The tick that a call is made for, in RFC 3339: on calls at ticks of the gateway's."""
_OF_CONNECTORS: Final = frozenset(map(len, ("X-Topic", "X-Connector", SCHEDULED_TIME)))

FORWARDED_FOR: Final = "X-Forwarded-For"
FORWARDED_HOST: Final = "X-Forwarded-Host"
FORWARDED_URI: Final = "X-Forwarded-Uri"

MAX_CALL_ID: Final = 128
"""Characters of a caller's call id; longer ones are replaced."""

_CALL_ID_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:")


_LONGEST_LINE: Final = 1_000


def one_line(text: str) -> str:
    """`text` as a header can carry it: printable ASCII, not too long."""
    shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return shown if len(shown) <= _LONGEST_LINE else f"{shown[: _LONGEST_LINE - 3]}..."


def is_call_id(text: str) -> bool:
    """True for a call id that is safe to log and to send on."""
    return 0 < len(text) <= MAX_CALL_ID and _CALL_ID_CHARACTERS.issuperset(text)


def is_of_cron_connector(fields: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether OpenFaaS's cron-connector calls a function at one of its times (its main.go and connector-sdk).

    A function that was called at a tick of the gateway's, and calls on with all the headers that it got, is none: it passes
    on the time of the tick, which connectors do not know.
    """
    said = {name.lower(): value for name, value in fields if len(name) in _OF_CONNECTORS}
    is_connector = said.get(b"x-connector") == b"cron-connector" and said.get(b"x-topic") == b"cron-function"
    return is_connector and SCHEDULED_TIME.lower().encode() not in said
