"""The oracle of attacks on networks: somebody else's function, called through the gateway all the time while an attack goes on."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from attack.function.bystander import outside
from attack.waiting import judge, slowest
from hilbert.core.model import Endpoint
from support.networks import NetworkedPlatform

NAME: Final = "still.bystander"
_ANSWER: Final = "still here"
_EVERY: Final = 0.05
"""Seconds between two calls."""
_CALM: Final = 10
"""Calls before the attack, and after it, which tell how long one takes on this machine now."""
_PATIENCE: Final = 20.0
"""Seconds after which an answer counts as missing."""
_SERVE: Final = """python3 -c "
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = b'still here'
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('127.0.0.1', 5000), Answer).serve_forever()
" """


def deploy(platform: NetworkedPlatform) -> None:
    """One process that answers all calls, so that their times are those of the platform and not of starting programs."""
    platform.namespace("bystander")
    variables = {"mode": "http", "upstream_url": "http://127.0.0.1:5000", "CODE": _SERVE}
    platform.deploy("still", "bystander", envProcess="sh -c 'eval \"$CODE\"'", envVars=variables)


@contextlib.contextmanager
def served(platform: NetworkedPlatform) -> Iterator[None]:
    """Its calls all succeed with its own answer, and take no longer than before, after, or outside of the platform.

    Their times do not count where the block deploys something: starting programs is no attack, and takes this machine's time.
    """
    changes = platform.changes
    with outside() as calm:
        compared = [_call(platform) for _ in range(_CALM)]
        done = threading.Event()
        callers = [_Caller(lambda: _call(platform), done), _Caller(lambda: _call_outside(calm), done)]
        try:
            yield
        finally:
            done.set()
            took, meanwhile = [caller.end() for caller in callers]
        compared += [_call(platform) for _ in range(_CALM)]
    if platform.changes == changes:
        judge(took, [slowest(compared), slowest(meanwhile)])


class _Caller:
    """A thread that calls again and again."""

    def __init__(self, call: Callable[[], float], done: threading.Event) -> None:
        self._call = call
        self._done = done
        self._took: list[float] = []
        self._wrong: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._took.append(self._call())
            while not self._done.wait(_EVERY):
                self._took.append(self._call())
        except (AssertionError, OSError) as exc:
            self._wrong.append(exc)

    def end(self) -> list[float]:
        """The seconds that each call took. Raises what went wrong with one."""
        self._thread.join()
        if self._wrong:
            raise self._wrong[0]
        return self._took


def _call(platform: NetworkedPlatform) -> float:
    began = time.monotonic()
    answer = platform.call(f"/function/{NAME}", timeout=_PATIENCE)
    assert (answer.status, answer.text) == (200, _ANSWER), answer
    return time.monotonic() - began


def _call_outside(endpoint: Endpoint) -> float:
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_PATIENCE)
        client.connect(endpoint.address.removeprefix("unix:"))
        client.sendall(b"GET / HTTP/1.1\r\nHost: outside\r\n\r\n")
        answer = b""
        while part := client.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return time.monotonic() - began
