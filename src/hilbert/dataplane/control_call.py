"""A request for the REST API: a passage to the control process."""

from __future__ import annotations

import errno
from typing import Final

from hilbert.core.model import CallPolicy
from hilbert.dataplane import failures, headers
from hilbert.dataplane.passage import Passage
from hilbert.dataplane.places import Places
from hilbert.kit.aio import spawn
from hilbert.kit.http1 import Pool, Request, Responder, Response

_POLICY: Final = CallPolicy(first_byte=120.0, idle=0.0)
"""Following logs may be silent for long."""

_TRIES: Final = 3
"""Connections that may lose a request before it is given up."""


class ControlCall(Passage):
    """One request for the REST API, whose body has a limit of its own."""

    __slots__ = ("_highest", "_most", "_places", "_pool", "_room", "_source", "_tries")

    def __init__(
        self,
        request: Request,
        responder: Responder,
        incoming: headers.Incoming,
        pool: Pool,
        *,
        most: int,
        places: Places,
        source: str,
        highest: int,
    ) -> None:
        """`most` is the limit on the body, in bytes; `source` has taken one of `places`, which is given back at the end.

        `highest`: see `Pool.connect`.
        """
        super().__init__(request, responder, incoming, _POLICY)
        self._places = places
        self._source = source
        self._highest = highest
        self._pool = pool
        self._room = most
        self._most = most
        self._tries = 0
        if (request.length or 0) > most:
            self.fail(failures.body_too_large(most, "gateway.max_api_body"))
        else:
            self._begin()

    def _begin(self) -> None:
        self._tries += 1
        connection = self._pool.take()
        if connection is not None:
            self.attach(connection)
        else:
            spawn(self._connect(), name="connect control plane")

    async def _connect(self) -> None:
        try:
            connection = await self._pool.connect(highest=self._highest)
        except OSError as exc:
            short = exc.errno in (errno.EMFILE, errno.ENFILE)
            self.fail(failures.SHORT if short else failures.CONTROL_AWAY)
            return
        if self.ended:
            self._pool.release(connection)
        else:
            self.attach(connection)

    def on_body(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            self.fail(failures.body_too_large(self._most, "gateway.max_api_body"))
        super().on_body(data)

    def again(self, reason: str, *, refused: bool) -> bool:
        del reason, refused
        if self._tries >= _TRIES:
            return False
        self._begin()
        return True

    def on_end(self, status: int) -> None:
        del status
        self._places.give_back(self._source)

    def lost(self, reason: str) -> None:
        del reason
        self.fail(failures.CONTROL_AWAY)

    def head_lines(self, response: Response) -> bytes:
        lines, _, dated = headers.from_control(response)
        return lines if dated else lines + self.client.date

    def head(self) -> tuple[bytes, ...]:
        incoming = self.incoming
        scheme = b"" if incoming.origin and incoming.origin.scheme else b"X-Forwarded-Proto: http\r\n"
        own = b"%bX-Call-Id: %b\r\nX-Forwarded-For: %b\r\n\r\n" % (scheme, self.call_id, self.client.peer)
        return incoming.start, incoming.host, incoming.lines, own
