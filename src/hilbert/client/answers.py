"""What calls give that is not a body of the REST API (those are in `hilbert.wire`)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Accepted(msgspec.Struct, frozen=True):
    """The gateway has promised to carry a deployment out."""

    created: bool
    """False: a function of that name was updated."""
    status: int
    """HTTP status: 202, or 200 of some gateways."""
    warning: str = ""
    """What of it has no effect, such as a schedule that nobody can read; empty: nothing."""


class Invocation(msgspec.Struct, frozen=True):
    """The answer of a function, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def call_id(self) -> str:
        """Names this call in logs; empty when the gateway gave none."""
        return self.headers.get("x-call-id", "")

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as UTF-8, with what is not UTF-8 replaced."""
        return self.body.decode("utf-8", "replace")
