"""What every mode answers, over real sockets to a real process."""

from __future__ import annotations

import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.watchdog import UnixConnection, Watchdog, until

METHODS = ("POST", "PUT", "PATCH", "DELETE")


@pytest.mark.parametrize(("path", "body"), [("/_/health", b"OK"), ("/_/ready", b"")])
def test_the_watchdogs_own_paths_take_get_alone(shared: Watchdog, path: str, body: bytes) -> None:
    """200 for GET, 405 for anything else."""
    assert (shared.call("GET", path).status, shared.call("GET", path).body) == (200, body)
    assert [shared.call(method, path).status for method in ("POST", "HEAD", "DELETE")] == [405, 405, 405]


@pytest.mark.parametrize("method", METHODS)
def test_a_body_comes_back(shared: Watchdog, method: str) -> None:
    """The function gets the request's body whole, and its answer carries how long it took."""
    answer = shared.call(method, "/", body=b"hello")
    assert (answer.status, answer.body) == (200, b"hello")
    assert re.fullmatch(r"\d+\.\d{6}", answer.headers["X-Duration-Seconds"])


def test_binary_data_survives(shared: Watchdog) -> None:
    """Every byte value, NUL among them, both ways."""
    data = bytes(range(256)) * 5
    assert shared.call("POST", body=data).body == data


def test_an_empty_body(shared: Watchdog) -> None:
    """GET and an empty POST give an empty answer."""
    assert (shared.call("GET").status, shared.call("GET").body) == (200, b"")
    assert (shared.call("POST").status, shared.call("POST").body) == (200, b"")


def test_a_chunked_body_comes_back(shared: Watchdog) -> None:
    """A body without a length is the same to the function."""
    connection = UnixConnection(shared.socket_path)
    connection.request("POST", "/", body=iter([b"one ", b"two ", b"three"]), encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"one two three")
    connection.close()


def test_large_bodies_are_whole(shared: Watchdog) -> None:
    """More than every buffer on the way holds, both ways at once."""
    data = os.urandom(6 * 1024 * 1024)
    assert shared.exchange("/", data).body == data


def test_head_has_no_body_and_keeps_the_connection(shared: Watchdog) -> None:
    """After HEAD the same connection carries the next call. The classic watchdog refuses HEAD."""
    connection = UnixConnection(shared.socket_path)
    connection.request("HEAD", "/")
    head = connection.getresponse()
    assert head.status == (405 if shared.env["HILBERT_MODE"] == "classic" else 200)
    assert head.read() == b""
    connection.request("POST", "/", body=b"again")
    assert connection.getresponse().read() == b"again"
    connection.close()


def test_calls_at_once_do_not_mix(shared: Watchdog) -> None:
    """Forty calls from ten clients at a time each get their own body."""
    with ThreadPoolExecutor(10) as clients:
        bodies = [f"call {number} ".encode() * 500 for number in range(40)]
        answers = list(clients.map(lambda body: shared.call("POST", body=body).body, bodies))
    assert answers == bodies


def test_a_connection_carries_many_calls(shared: Watchdog) -> None:
    """Keep-alive."""
    connection = UnixConnection(shared.socket_path)
    for number in range(5):
        connection.request("POST", "/", body=b"%d" % number)
        assert connection.getresponse().read() == b"%d" % number
    connection.close()


def test_a_call_that_fails_is_500_and_logged(shared: Watchdog) -> None:
    """The function's failure is the caller's 500; what it said is in the log, and the next call works."""
    answer = shared.call("POST", "/fail")
    assert answer.status == 500
    until(lambda: b"about to fail" in answer.body or "about to fail" in shared.log, what="what it said")
    assert shared.call("POST", body=b"fine").body == b"fine"


def test_the_function_sees_no_private_names(shared: Watchdog) -> None:
    """What configures the watchdog is not the function's."""
    lines = shared.call("GET", "/env").text.splitlines()
    assert any(line.startswith("PATH=") for line in lines)
    assert [line for line in lines if line.startswith("HILBERT_")] == []


def test_a_malformed_request_is_refused(shared: Watchdog) -> None:
    """400 and a closed connection, and the function goes on."""
    with shared.connect() as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
        data = b""
        while part := raw.recv(4096):
            data += part
    assert data.startswith(b"HTTP/1.1 400 ")
    assert shared.call("POST", body=b"fine").body == b"fine"


def test_many_idle_connections_do_not_stop_a_call(shared: Watchdog) -> None:
    """Two hundred clients that say nothing, and one that does."""
    idle = [shared.connect() for _ in range(200)]
    try:
        assert shared.call("POST", body=b"through").body == b"through"
    finally:
        for raw in idle:
            raw.close()
    assert threading.active_count() < 50
