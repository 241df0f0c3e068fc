"""What the control process asks of the log keeper: JSON, a request a line; each is answered by a line with its number.

Behind the number, the answer to `Uses` has a blank and JSON.

Replicas and functions are named by strings that are safe as file names: they come from parsed values.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hilbert.core.limits import LogUse


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


class Uses(msgspec.Struct, frozen=True, tag="uses"):
    """Answer with how bounds are used, of at most `USES_MOST` functions and namespaces that come after this one."""

    number: int
    namespace: str = ""
    function: str = ""


Request = Keep | Flush | Retire | Drop | Slow | Uses

Use = tuple[str, str, LogUse]
"""Of a namespace, and of one of its functions or, where that is empty, of all."""

USES_MOST = 128
"""In one answer: their names alone take up to 16 KiB."""

REQUEST_MOST = 4096
"""Most bytes of a request's line."""


def encode(request: Request) -> bytes:
    return msgspec.json.encode(request) + b"\n"


def encode_uses(uses: Sequence[Use]) -> bytes:
    return msgspec.json.encode(uses)


def decode_uses(answer: bytes) -> Sequence[Use]:
    """Raises `msgspec.MsgspecError`."""
    return msgspec.json.decode(answer, type=list[Use])


def decode(line: bytes) -> Request:
    """Raises `msgspec.MsgspecError`."""
    request: Request = msgspec.json.decode(line, type=Request)
    return request
