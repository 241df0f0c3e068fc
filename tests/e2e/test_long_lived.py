"""Streams and WebSockets through a rolling restart and through an update of their function."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from support.platform import Platform, running, until

EVENTS = "sh -c 'i=0; while :; do i=$((i+1)); printf \"data: $VERSION $i\\n\\n\"; sleep 0.05; done'"

SOCKETS = r"""
import base64, hashlib, http.server, os, socketserver
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if "websocket" not in self.headers.get("Upgrade", ""):
            text = os.environ["VERSION"].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            return
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                return
            mask, length = self.rfile.read(4), head[1] & 127
            text = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(length)))
            answer = os.environ["VERSION"].encode() + b" " + text
            self.wfile.write(bytes((0x81, len(answer))) + answer)
            self.wfile.flush()
    def log_message(self, *_): ...
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    def get_request(self):
        return self.socket.accept()[0], ("f", 0)
Server(os.path.join(os.environ.get("TMPDIR", "/tmp"), "s"), Echo).serve_forever()
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    # A restart and an update may take no longer than this; what lives on lives longer than both.
    with running("gateway.workers=1", "gateway.drain_timeout=1s", "provider.drain_delay=100ms") as started:
        yield started


def events(version: str) -> dict[str, object]:
    environment = {"VERSION": version, "mode": "streaming", "write_timeout": "10m", "exec_timeout": "10m"}
    return {"service": "events", "image": "functions/alpine:latest", "envProcess": EVENTS, "envVars": environment}


def sockets(version: str) -> dict[str, object]:
    environment = {
        "VERSION": version, "CODE": SOCKETS, "mode": "http", "upstream_url": "unix:s", "write_timeout": "10m", "exec_timeout": "10m",
    }  # fmt: skip
    process = "python3 -c 'import os; exec(os.environ[\"CODE\"])'"
    return {"service": "sockets", "image": "functions/alpine:latest", "envProcess": process, "envVars": environment}


def deploy(platform: Platform, body: dict[str, object]) -> None:
    """Anew, or over what an earlier test has left."""
    answer = platform.api("PUT", "/system/functions", body)
    if answer.status == 404:
        answer = platform.api("POST", "/system/functions", body)
    assert answer.status == 202, answer.text


class Stream:
    """A connection to a function, read and written by hand."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def until(self, text: bytes) -> bytes:
        """What came up to and with `text`. Raises `AssertionError` at the stream's end."""
        while text not in self._received:
            data = self._connection.recv(65536)
            assert data, f"the stream ended before {text!r}: ...{self._received[-300:]!r}"
            self._received += data
        before, _, self._received = self._received.partition(text)
        return before + text

    def goes_on(self, version: str) -> None:
        """Some events come that are younger than this question."""
        self._received += self._connection.recv(1 << 20)
        last = int(re.findall(rb"data: \w+ (\d+)\n", self._received)[-1])
        self.until(f"data: {version} {last + 20}\n".encode())

    def say(self, text: bytes, answer: bytes) -> None:
        """A text frame, masked with zeros, and the answer to it."""
        self.send(bytes((0x81, 0x80 | len(text))) + bytes(4) + text)
        self.until(bytes((0x81, len(answer))) + answer)


@contextlib.contextmanager
def opened(platform: Platform, path: str, *lines: str) -> Iterator[Stream]:
    at = urlsplit(platform.url)
    assert at.hostname is not None
    with socket.create_connection((at.hostname, at.port or 80), timeout=60) as connection:
        stream = Stream(connection)
        stream.send("\r\n".join([f"GET {path} HTTP/1.1", f"Host: {at.netloc}", *lines, "", ""]).encode())
        yield stream


@contextlib.contextmanager
def event_stream(platform: Platform, version: str) -> Iterator[Stream]:
    with opened(platform, "/function/events") as stream:
        stream.until(f"data: {version} 3".encode())
        yield stream


@contextlib.contextmanager
def websocket(platform: Platform, version: str) -> Iterator[Stream]:
    asked = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    with opened(platform, "/function/sockets", *asked, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==") as stream:
        assert b" 101 " in stream.until(b"\r\n\r\n")
        stream.say(b"one", f"{version} one".encode())
        yield stream


def first_event(platform: Platform) -> bytes:
    with opened(platform, "/function/events") as stream:
        stream.until(b"data: ")
        return stream.until(b" ").strip()


def serve(platform: Platform, version: str) -> None:
    """Both functions in a version, answering."""
    for body in (events(version), sockets(version)):
        deploy(platform, body)
    until(
        lambda: platform.call("/function/sockets").text == version and first_event(platform) == version.encode(),
        within=40,
        what=f"version {version}",
        log=lambda: platform.log,
    )


def test_a_rolling_restart_cuts_no_stream(platform: Platform) -> None:
    """They stay with the old worker, however short the time is that a stop gives, and new ones find the new worker."""
    serve(platform, "one")
    with event_stream(platform, "one") as stream, websocket(platform, "one") as tunnel:
        assert platform.process is not None
        (old,) = platform.children("hilbert.dataplane.worker")
        done = platform.log.count('"rolling restart done"')
        platform.process.send_signal(signal.SIGHUP)
        until(
            lambda: platform.log.count('"rolling restart done"') > done,
            within=60,
            what="the rolling restart",
            log=lambda: platform.log,
        )
        stream.goes_on("one")
        tunnel.say(b"two", b"one two")
        assert old.is_running()
        with websocket(platform, "one"):
            assert first_event(platform) == b"one"
    until(lambda: not old.is_running(), within=30, what="the old worker to end", log=lambda: platform.log)


def test_an_update_of_the_function_cuts_no_stream(platform: Platform) -> None:
    """They stay with the old replica while the new version answers; once they are over, it ends."""
    serve(platform, "old")
    with event_stream(platform, "old") as stream, websocket(platform, "old") as tunnel:
        serve(platform, "new")
        stream.goes_on("old")
        tunnel.say(b"two", b"old two")
        with websocket(platform, "new"):
            pass
    until(lambda: len(platform.replicas()) == 2, within=40, what="the old replicas to end", log=lambda: platform.log)
