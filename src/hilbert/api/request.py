"""Reading requests and writing answers the way OpenFaaS's clients expect: any content type, last parameter wins."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec
from litestar import Request, Response
from litestar.exceptions import ClientException, InternalServerException, NotFoundException

from hilbert.core.errors import Invalid
from hilbert.wire.reading import decode

AnyRequest = Request[Any, Any, Any]
T = TypeVar("T")

_NAME: Final = re.compile(r"[-a-zA-Z_0-9.]+")
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})

_encode = msgspec.json.Encoder().encode


def query(request: AnyRequest, name: str) -> str:
    """A query parameter; the last one of several, empty if there is none."""
    found = request.query_params.getall(name, [""])
    return str(found[-1])


def parse_bool(text: str) -> bool:
    """As Go's `strconv.ParseBool`, with false for what is neither."""
    return text in _TRUE


def path_name(request: AnyRequest) -> str:
    """The name in the path; empty on a route without one. Raises `NotFoundException` where OpenFaaS has no route."""
    name = str(request.path_params.get("name", ""))
    if name and not _NAME.fullmatch(name):
        raise NotFoundException
    return name


async def read_body(request: AnyRequest) -> bytes:
    """The body without the white space around it."""
    try:
        body = await request.body()
    except InternalServerException as exc:
        # Litestar's word for a client that left half way: no failure of ours, and nobody is there to read of it.
        raise ClientException("the request ended before its body did") from exc
    return body.strip()


async def read(request: AnyRequest, kind: type[T], *, empty: str, broken: str = "{}") -> T:
    """The body as JSON, whatever its content type says.

    Raises `Invalid`, with `empty` for no body and `broken` (`{}` stands for what is wrong) for a bad one.
    """
    data = await read_body(request)
    if not data:
        raise Invalid(empty)
    try:
        return decode(data, kind)
    except Invalid as exc:
        raise Invalid(broken.format(exc.message)) from exc


def json(document: object, *, status: int = 200) -> Response[bytes]:
    return Response(_encode(document), status_code=status, media_type="application/json")


def nothing(status: int) -> Response[bytes]:
    """A success that has nothing to say."""
    return Response(b"", status_code=status, media_type="text/plain")
