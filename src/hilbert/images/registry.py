"""One repository of a registry, by the distribution API: https://github.com/opencontainers/distribution-spec.

Tokens: https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlencode

import msgspec

from hilbert.images.documents import DIGEST, INDEXES, MANIFESTS, MOST_DOCUMENT, Descriptor
from hilbert.images.login import Challenge, basic, parse_challenge
from hilbert.images.reference import DOCKER_HUB, Reference
from hilbert.images.registry_places import Place
from hilbert.images.source import Failed
from hilbert.images.web import Answer, Unreachable, Web
from hilbert.kit.pace import Pace

_ACCEPT: Final = ", ".join((*INDEXES, *MANIFESTS))
_HUB: Final = "registry-1.docker.io"
MOST_TOKEN: Final = 256 * 1024
_TRIES: Final = 3
_PACE: Final = Pace(first=0.3, most=5.0)
_SLOW: Final = 60.0
_LEAST: Final = 1 << 20
"""Bytes in `_SLOW` seconds; whoever sends less has stalled."""


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


class RegistrySource:
    """A repository, asked at the first of several places that answers."""

    def __init__(self, reference: Reference, places: Sequence[Place], web: Web) -> None:
        """`places`: mirrors, and the registry itself last."""
        self.place = reference.place
        self._web = web
        self._places = places
        self._authorization: dict[str, str] = {}

    async def look_up(self, reference: str) -> str:
        async with self._ask("HEAD", f"manifests/{reference}", "asking for the manifest", Accept=_ACCEPT) as answer:
            said = str(answer.headers.get("docker-content-digest", ""))
            return said if answer.status == 200 and DIGEST.fullmatch(said) else ""

    async def manifest(self, reference: str) -> bytes:
        return await self._small(f"manifests/{reference}", "asking for the manifest", Accept=_ACCEPT)

    async def document(self, descriptor: Descriptor) -> bytes:
        return await self._small(f"blobs/{descriptor.digest}", "asking for the configuration")

    async def fetch(self, descriptor: Descriptor, target: Path, told: Callable[[int], None]) -> None:
        """Goes on where it broke off, also in an earlier attempt."""
        step = "downloading a layer"
        with target.open("ab") as file:
            told(file.tell())
            for attempt in range(1, _TRIES + 1):
                begin = file.tell()
                if begin >= descriptor.size:
                    return
                extra = {"Range": f"bytes={begin}-"} if begin else {}
                try:
                    async with self._ask("GET", f"blobs/{descriptor.digest}", step, **extra) as answer:
                        if begin and answer.status != 206:
                            told(-begin)
                            file.seek(0)
                            file.truncate()
                        await _write(answer, file, most=descriptor.size, told=told)
                    if file.tell() >= descriptor.size:
                        return
                    reason = "the answer ended too early"
                except Unreachable as exc:
                    reason = str(exc)
                if attempt == _TRIES:
                    raise _unreached(step, self._places[-1].host, reason)
                if file.tell() == begin:
                    await asyncio.sleep(_PACE.delay(attempt))

    async def _small(self, path: str, step: str, **headers: str) -> bytes:
        for attempt in range(1, _TRIES + 1):
            try:
                async with self._ask("GET", path, step, **headers) as answer:
                    return await answer.read(MOST_DOCUMENT)
            except Unreachable as exc:
                if attempt == _TRIES:
                    raise _unreached(step, self._places[-1].host, str(exc)) from exc
                await asyncio.sleep(_PACE.delay(attempt))
        raise RuntimeError("a loop that returns or raises")

    @contextlib.asynccontextmanager
    async def _ask(self, method: str, path: str, step: str, **headers: str) -> AsyncIterator[Answer]:
        """An answer that is good, from a mirror or the registry itself. Raises `Failed`, and `Unreachable` in its body."""
        async with contextlib.AsyncExitStack() as stack:
            for place in self._places[:-1]:
                with contextlib.suppress(Failed):
                    answer = await stack.enter_async_context(self._ask_at(place, method, path, step, headers))
                    break
            else:
                answer = await stack.enter_async_context(self._ask_at(self._places[-1], method, path, step, headers))
            yield answer

    @contextlib.asynccontextmanager
    async def _ask_at(
        self, place: Place, method: str, path: str, step: str, headers: Mapping[str, str]
    ) -> AsyncIterator[Answer]:
        host = _HUB if place.host == DOCKER_HUB else place.host
        url = f"http{'' if place.insecure else 's'}://{host}/v2/{place.repository}/{path}"
        challenged = False
        for attempt in range(1, _TRIES + 1):
            given = dict(headers)
            if place.host in self._authorization:
                given["Authorization"] = self._authorization[place.host]
            async with contextlib.AsyncExitStack() as stack:
                asking = self._web.ask(method, url, headers=given, listed=place.listed, insecure=place.insecure)
                try:
                    answer = await stack.enter_async_context(asking)
                except Unreachable as exc:
                    if attempt == _TRIES or exc.lasting:
                        raise _unreached(step, host, str(exc)) from exc
                    await asyncio.sleep(_PACE.delay(attempt))
                    continue
                if answer.status in (200, 206):
                    yield answer
                    return
                if answer.status == 405 and method == "HEAD":
                    yield answer
                    return
                asks = answer.headers.get("www-authenticate", "") if answer.is_of_asked else ""
                challenge = parse_challenge(asks)
                if answer.status == 401 and challenge is not None and not challenged:
                    challenged = True
                    self._authorization[place.host] = await self._answer(challenge, place, step)
                    continue
                if answer.status >= 500 and attempt < _TRIES:
                    await asyncio.sleep(_PACE.delay(attempt))
                    continue
                raise _refused(step, place, answer)

    async def _answer(self, challenge: Challenge, place: Place, step: str) -> str:
        """The value of `Authorization` that a registry asks for. Raises `Failed`."""
        login = place.login
        if challenge.scheme == "basic":
            if login is None:
                raise _denied(step, place)
            return basic(login)
        realm = challenge.parameters.get("realm", "")
        scope = f"repository:{place.repository}:pull"
        query = {"service": challenge.parameters.get("service", ""), "scope": scope}
        headers: dict[str, str] = {}
        method, url, body = "GET", realm, ""
        if login is not None and login.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": "hilbert"}
            method, body = "POST", urlencode({**form, **query})
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        else:
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
            if login is not None:
                headers["Authorization"] = basic(login)
        asking = self._web.ask(method, url, headers=headers, listed=place.listed, insecure=place.insecure, body=body)
        try:
            async with asking as answer:
                if answer.status in (401, 403):
                    raise _denied("asking for a token", place)
                if answer.status != 200:
                    raise Failed(
                        "asking for a token",
                        f"the token server of {place.host} answered {answer.status}",
                        kind="unreachable",
                    )
                said = msgspec.json.decode(await answer.read(MOST_TOKEN), type=_Token)
        except Unreachable as exc:
            raise _unreached("asking for a token", f"the token server of {place.host}", str(exc)) from exc
        except msgspec.MsgspecError as exc:
            raise Failed("asking for a token", f"the token server of {place.host} gave no token") from exc
        token = said.token or said.access_token
        if not token or not token.isascii() or not token.isprintable():
            raise Failed("asking for a token", f"the token server of {place.host} gave no token")
        return f"Bearer {token}"


async def _write(answer: Answer, file: BinaryIO, *, most: int, told: Callable[[int], None]) -> None:
    """Raises `Unreachable` when the answer breaks off or stalls, and `Failed` when it is too long."""
    begun, came = time.monotonic(), 0
    async for piece in answer.pieces():
        file.write(piece)
        told(len(piece))
        came += len(piece)
        if file.tell() > most:
            raise Failed("downloading a layer", "the registry sends more than the manifest says", hint="try again")
        if (now := time.monotonic()) - begun > _SLOW:
            if came < _LEAST:
                raise Unreachable(f"less than {_LEAST} bytes came in {_SLOW:.0f} s")
            begun, came = now, 0


def _unreached(step: str, host: str, why: str) -> Failed:
    if "certificate" in why:
        hint = "name the authority's certificate in images.ca_file"
    elif "no such host" in why:
        hint = "check the registry in the image's name"
    else:
        hint = "check that it runs and can be reached from here, and try again"
    return Failed(step, f"{host} cannot be reached: {why}", hint=hint, kind="unreachable")


def _refused(step: str, place: Place, answer: Answer) -> Failed:
    match answer.status:
        case 401 | 403:
            return _denied(step, place)
        case 404:
            return Failed(
                step,
                f"{place.host} has no such image in {place.repository}",
                hint="check the image's name and its tag",
                kind="denied",
            )
        case 429:
            wait = answer.headers.get("retry-after", "")
            return Failed(
                step,
                f"{place.host} limits how many requests it takes"
                + (f"; it asks to wait {wait[:20]} s" if wait.isdecimal() else ""),
                hint="wait, log in to the registry, or set a mirror with images.mirrors",
                kind="unreachable",
            )
    return Failed(
        step,
        f"{place.host} answered {answer.status}",
        hint="the registry reports an error; try again later",
        kind="unreachable",
    )


def _denied(step: str, place: Place) -> Failed:
    if place.login is None:
        return Failed(
            step,
            f"{place.host} has no {place.repository}, or shows it only to those who log in",
            hint="check the name; for a private one, name a secret with the login in the namespace's annotation "
            "com.hilbert.pull-secret, or set images.credentials",
            kind="denied",
        )
    return Failed(
        step,
        f"{place.host} does not let {place.login.username or 'this login'} pull {place.repository}",
        hint="check the user name, the password and its rights in the registry",
        kind="denied",
    )
