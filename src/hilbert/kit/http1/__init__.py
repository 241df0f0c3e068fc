"""HTTP/1.1 on asyncio transports: the only wire code of the project.

Framing is llhttp's, through httptools. The data plane, the watchdog and probes stand on this package; it knows nothing
of functions, and imports nothing but httptools and the standard library, since a watchdog's start pays for it.

The server side is made of callbacks, so that a warm request costs no coroutine and no task:

    wheel = TimerWheel()
    server = await loop.create_server(lambda: ServerConnection(accept, Limits(), wheel), ...)

    def accept(request: Request, responder: Responder) -> Handler: ...

`accept` is called when a request's head is whole and its turn has come, and returns what takes the body. The handler
answers through the responder, at once or later: `start`, `write` (False: wait for `on_drain`), `end`.
"""

from hilbert.kit.http1.client import ClientConnection
from hilbert.kit.http1.limits import Limits
from hilbert.kit.http1.outbox import Outbox
from hilbert.kit.http1.pool import Pool
from hilbert.kit.http1.request import Headers, Request
from hilbert.kit.http1.responder import Accept, Handler, Responder, Tunnel
from hilbert.kit.http1.response import Listener, Response
from hilbert.kit.http1.server import ServerConnection
from hilbert.kit.http1.status import EMPTY_STATUSES
from hilbert.kit.http1.timers import TimerWheel

__all__ = [
    "EMPTY_STATUSES",
    "Accept",
    "ClientConnection",
    "Handler",
    "Headers",
    "Limits",
    "Listener",
    "Outbox",
    "Pool",
    "Request",
    "Responder",
    "Response",
    "ServerConnection",
    "TimerWheel",
    "Tunnel",
]
