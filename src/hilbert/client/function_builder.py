"""OpenFaaS's Function Builder API: a tar goes in, an image gets built and pushed, its log comes back as it is made."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Final

import msgspec

from hilbert import __version__
from hilbert.client.arguments import checked
from hilbert.client.channel import PIECE
from hilbert.client.codec import BrokenAnswer, Head, Request
from hilbert.client.faults import error_of
from hilbert.client.transport import Transport
from hilbert.client.url import parse_url
from hilbert.core.errors import HilbertError, RateLimited, Unauthenticated

_MOST_SILENCE: Final = 1800.0
"""Seconds that a build may say nothing: a builder without streaming answers at its end."""
_LONGEST_LINE: Final = 16 * 1024 * 1024


class BuildResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a builder says of a build, once or again and again."""

    log: tuple[str, ...] | None = ()
    """Lines since the last one."""
    image: str = ""
    status: str = ""
    """`in_progress`, `success`, or `failure`, which some builders call `failed`."""
    error: str = ""
    duration: float = 0.0
    """Seconds."""

    @property
    def succeeded(self) -> bool:
        return self.status == "success"

    @property
    def ended(self) -> bool:
        return self.status in ("success", "failure", "failed")


@checked
class FunctionBuilder:
    """One builder. For one build at a time; `abort` may be called from another thread."""

    def __init__(
        self,
        url: str,
        *,
        secret: bytes = b"",
        environ: Mapping[str, str],
        verify: bool = True,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        """`secret` signs what is sent; builders refuse what is not signed, unless they are told otherwise.

        Raises `Invalid` for a bad URL.
        """
        self._secret = secret
        extra = [("User-Agent", f"hilbert/{__version__}"), ("Accept-Encoding", "identity")]
        self._transport = Transport(parse_url(url), environ=environ, verify=verify, extra=extra, trace=trace)

    def build(self, payload: IO[bytes]) -> Iterator[BuildResult]:
        """Send a tar, from its beginning to its end, and say what comes back until the build has ended.

        Raises `Unauthenticated` when the signature is refused, `RateLimited` when the builder is busy, `BrokenAnswer`
        when it stops in the middle, and what a connection raises.
        """
        pieces = _Pieces(payload)
        headers = [("Content-Type", "application/octet-stream"), ("Accept", "application/x-ndjson")]
        if self._secret:
            headers.append(("X-Build-Signature", f"sha256={pieces.sign(self._secret)}"))
        request = Request(method="POST", target="/build", headers=headers, pieces=pieces, length=pieces.length)
        stream = self._transport.send(request, timeout=_MOST_SILENCE, idle=_MOST_SILENCE)
        try:
            ended = False
            for result in _results(stream.head, iter(stream)):
                ended = result.ended
                yield result
                if ended:
                    return
        finally:
            stream.close()
        raise BrokenAnswer("the builder's answer ended before the build did", hint="its own log may say why")

    def abort(self) -> None:
        """Give a build up: whoever waits for it gets an exception."""
        self._transport.abort()

    def close(self) -> None:
        self._transport.close()


class _Pieces:
    """A file in pieces, as often as they are asked for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.length = file.seek(0, 2)

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(PIECE):
            yield piece

    def sign(self, secret: bytes) -> str:
        """HMAC-SHA256 of all of it, in hexadecimal."""
        signature = hmac.new(secret, digestmod="sha256")
        for piece in self:
            signature.update(piece)
        return signature.hexdigest()


def _results(head: Head, pieces: Iterator[bytes]) -> Iterator[BuildResult]:
    """The objects of an answer: one a line as they come, or one that is the whole answer."""
    if 200 <= head.status < 300 and "ndjson" in head.headers.get("content-type", ""):
        rest = b""
        for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            yield from (_decode(line) for line in lines if line.strip())
            if len(rest) > _LONGEST_LINE:
                break
        if rest.strip():
            yield _decode(rest)
        return
    whole = b""
    for piece in pieces:
        whole += piece
        if len(whole) > _LONGEST_LINE:
            raise BrokenAnswer(f"the builder's answer is longer than {_LONGEST_LINE} bytes")
    try:
        result = _decode(whole)
    except BrokenAnswer:
        if 200 <= head.status < 300:
            raise
        raise _refusal(head, whole) from None
    if not result.ended and not 200 <= head.status < 300:
        raise _refusal(head, whole)
    yield result


def _decode(text: bytes) -> BuildResult:
    try:
        return msgspec.json.decode(text, type=BuildResult)
    except msgspec.MsgspecError as exc:
        raise BrokenAnswer(f"the builder's answer cannot be read: {exc}") from exc


def _refusal(head: Head, body: bytes) -> HilbertError:
    if head.status in (401, 403):
        return Unauthenticated(
            f"the builder refuses the request: {body.decode('utf-8', 'replace').strip()[:200] or head.status}",
            hint="--payload-secret names the file with the secret that it shares with its callers",
        )
    error = error_of(head.status, head.headers.get("content-type", ""), body)
    if isinstance(error, RateLimited):
        return RateLimited(error.message, hint="it runs as many builds as it can; try again, or with --parallel 1")
    return error
