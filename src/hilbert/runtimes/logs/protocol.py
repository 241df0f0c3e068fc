"""What the control process asks of the log keeper: JSON, a request a line; each is answered by its number, a line each.

Replicas and functions are named by strings that are safe as file names: they come from parsed values.
"""

from __future__ import annotations

import msgspec


class Keep(msgspec.Struct, frozen=True, tag="keep"):
    """Copy the replica's pipe into its log from now on. Known already: nothing changes."""

    number: int
    namespace: str
    function: str
    replica: str
    bare: bool = False
    """Lines come without a time: each gets that at which it comes."""


class Flush(msgspec.Struct, frozen=True, tag="flush"):
    """Answer once all that is in the replica's pipe now has been copied."""

    number: int
    replica: str


class Retire(msgspec.Struct, frozen=True, tag="retire"):
    """The replica is gone: copy what is left, remove its pipe, keep its log as an old one."""

    number: int
    namespace: str
    function: str
    replica: str


class Drop(msgspec.Struct, frozen=True, tag="drop"):
    """The logs of the function (or of the whole namespace, when it is empty) are gone: what still comes is thrown away."""

    number: int
    namespace: str
    function: str


class Slow(msgspec.Struct, frozen=True, tag="slow"):
    """Copy no more than so much a second of the function (or of the whole namespace, when it is empty)."""

    number: int
    namespace: str
    function: str
    rate: int
    """Bytes; 0 takes the bound away."""


Request = Keep | Flush | Retire | Drop | Slow

REQUEST_MOST = 4096
"""Most bytes of a request's line."""


def encode(request: Request) -> bytes:
    return msgspec.json.encode(request) + b"\n"


def decode(line: bytes) -> Request:
    """Raises `msgspec.MsgspecError`."""
    request: Request = msgspec.json.decode(line, type=Request)
    return request
