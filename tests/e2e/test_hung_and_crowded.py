"""Processes that hang without being stopped, and processes without file descriptors."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil

from support.load import SteadyLoad
from support.platform import Platform, running, until

HOLD = """
import ctypes, os, sys
ptrace, pid = ctypes.CDLL(None, use_errno=True).ptrace, int(sys.argv[1])
SEIZE, INTERRUPT, ALL = 0x4206, 0x4207, 0x40000000
if ptrace(SEIZE, pid, 0, 0) or ptrace(INTERRUPT, pid, 0, 0):
    sys.exit("it cannot be held")
print("held", flush=True)
while True:
    try:
        os.waitpid(pid, ALL)
    except ChildProcessError:
        break
"""


@contextlib.contextmanager
def held(process: psutil.Process) -> Iterator[None]:
    """Its main thread does nothing more, as if it were in an endless loop: no signal but SIGKILL changes that."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(process.pid)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        yield
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def deploy(platform: Platform) -> None:
    body = {"service": "echo", "image": "functions/alpine:latest", "envProcess": "cat"}
    assert platform.api("POST", "/system/functions", body).status == 202
    until(lambda: platform.call("/function/echo", b"x").body == b"x", what="the function", log=lambda: platform.log)


def test_what_hangs_is_replaced() -> None:
    """A worker and the control process, at the same time; the other worker answers meanwhile."""
    with running("gateway.workers=2") as platform:
        deploy(platform)
        worker, control = (
            platform.children("hilbert.dataplane.worker")[0],
            platform.children("hilbert.server.control")[0],
        )
        load = SteadyLoad(platform.url + "/function/echo", threads=2, body=b"x")
        with held(worker), held(control), load.on():
            until(
                lambda: not worker.is_running() and not control.is_running(),
                within=90,
                what="both to be killed",
                log=lambda: platform.log,
            )
        assert platform.log.count("a child process does not respond and is replaced") == 2
        until(
            lambda: len(platform.children("hilbert.dataplane.worker")) == 2 and _answers(platform),
            within=60,
            what="the new ones",
            log=lambda: platform.log,
        )
        assert {platform.call("/function/echo", b"%d" % number).status for number in range(20)} == {200}


def _answers(platform: Platform) -> bool:
    try:
        return platform.api("GET", "/system/functions").status == 200 and platform.call("/function/echo").status == 200
    except OSError:
        return False


LIMIT = 200
"""Descriptors of each process."""


def test_without_descriptors_the_platform_goes_on() -> None:
    """Clients hold all that they can get: readers of logs, and connections that say nothing."""
    platform = Platform("gateway.workers=2", "gateway.read_timeout=60s")
    platform.command = ("sh", "-c", f'ulimit -n {LIMIT}; exec "$@"', "sh", sys.executable)
    try:
        platform.start()
        deploy(platform)
        family = {process.pid for process in platform.children("-m")}
        with contextlib.ExitStack() as stack:
            answers = Counter(read_log(platform, stack) for _ in range(100))
            # An eighth of the control process's descriptors is for readers of logs, and a quarter of that for those of one
            # namespace; the API has the rest.
            assert answers == {200: LIMIT // 32, 503: 100 - LIMIT // 32}, answers
            assert platform.api("GET", "/system/functions").status == 200
            assert platform.call("/function/echo", b"x").body == b"x"
            quiet = [connect(platform, stack) for _ in range(2 * LIMIT)]
            until(lambda: any(map(ended, quiet)), what="the gateway to end some", log=lambda: platform.log)
        until(lambda: _answers(platform), what="room after the clients have left", log=lambda: platform.log)
        assert {process.pid for process in platform.children("-m")} == family, "a process has died"
        assert "Traceback" not in platform.log, platform.log[-3000:]
        assert platform.stop() == 0
        until(lambda: not platform.processes(), within=5, what="every process to end")
    finally:
        platform.close()


def connect(platform: Platform, stack: contextlib.ExitStack) -> socket.socket:
    at = urlsplit(platform.url)
    assert at.hostname is not None
    return stack.enter_context(socket.create_connection((at.hostname, at.port or 80), timeout=30))


def read_log(platform: Platform, stack: contextlib.ExitStack) -> int:
    """Follow a log for as long as the stack lasts; the status."""
    connection = connect(platform, stack)
    token = b64encode(f"admin:{platform.password}".encode()).decode()
    lines = ("GET /system/logs?name=echo&follow=1 HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Basic {token}")
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return int(connection.recv(4096).split(b" ")[1])


def ended(connection: socket.socket) -> bool:
    """Whether the gateway has turned it away, or has closed it to make room."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) in (b"", b"H")
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
