"""Mode http: what passes between a client and the process behind the watchdog."""

from __future__ import annotations

import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.ports import held_port
from support.watchdog import FUNCTION, Watchdog, running, until, watchdog


@pytest.fixture(scope="module")
def function() -> Iterator[Watchdog]:
    with running("http", log_callid="true") as made:
        yield made


def received(raw: socket.socket, *, until_end: bytes) -> bytes:
    data = b""
    while not data.endswith(until_end):
        part = raw.recv(4096)
        assert part, data
        data += part
    return data


def test_headers_are_passed_on(function: Watchdog) -> None:
    """The client's own, `Host` too; what belongs to one connection is not."""
    lines = function.call(
        "POST",
        "/head",
        b"x",
        {
            "X-Thing": "1",
            "Connection": "keep-alive, X-Private",
            "X-Private": "2",
            "TE": "trailers",
            "Host": "h.example",
        },
    ).text.splitlines()
    assert {"X-Thing: 1", "Host: h.example", "Content-Length: 1"} <= set(lines)
    assert not [line for line in lines if line.startswith(("X-Private", "TE:", "Connection:"))]


def test_the_raw_target_is_passed_on(function: Watchdog) -> None:
    """Byte for byte, escapes, empty segments and what is no valid escape."""
    assert function.call("POST", "/x%2Fy//z?q=%zz&%2F", b"ok").body == b"ok"
    until(lambda: "POST /x%2Fy//z?q=%zz&%2F\n" in function.call("GET", "/seen").text, what="the target")


def test_server_sent_events_come_one_by_one(function: Watchdog) -> None:
    """Each event reaches the client before the next one is made."""
    with function.connect() as raw:
        raw.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        for number in range(3):
            data = received(raw, until_end=b"data: %d\n\n\r\n" % number)
            assert b"data: %d" % (number + 1) not in data
            (function.folder / f"event-{number}").touch()
        assert received(raw, until_end=b"0\r\n\r\n")


def test_chunks_that_come_at_once_get_a_length(function: Watchdog) -> None:
    """An answer that is here whole goes out as one, however the process framed it."""
    reply = function.call("GET", "/chunks")
    assert (reply.body, reply.headers["Content-Length"]) == (b"one two", "7")


def test_it_takes_no_heavy_modules() -> None:
    """Cold starts: asyncio takes longer to import than all else."""
    with running("http") as function:
        loaded = Path(f"/proc/{function.pid}/maps").read_text()
        assert "_asyncio" not in loaded


def test_a_websocket_is_passed_through(function: Watchdog) -> None:
    """After 101 bytes go both ways, and the end of one direction leaves the other open."""
    with function.connect() as raw:
        raw.sendall(b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
        head = received(raw, until_end=b"welcome\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"Upgrade: test\r\n" in head
        for word in (b"one\n", b"two\n"):
            raw.sendall(word)
            assert received(raw, until_end=b"\n") == word.upper()
        raw.shutdown(socket.SHUT_WR)
        assert received(raw, until_end=b"bye\n") == b"bye\n"
        assert raw.recv(100) == b""


def test_a_tunnel_outlives_the_time_limits() -> None:
    """`exec_timeout` and `write_timeout` count for responses, not for a connection that has left HTTP; it does count."""
    with running("http", exec_timeout="150ms", write_timeout="150ms", max_inflight="1") as function:
        with function.connect() as raw:
            raw.sendall(b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
            received(raw, until_end=b"welcome\n")
            assert function.call(path="/_/ready").status == 429
            raw.settimeout(0.4)
            with pytest.raises(TimeoutError):
                raw.recv(1)
            raw.settimeout(20)
            raw.sendall(b"still\n")
            assert received(raw, until_end=b"STILL\n")
        until(lambda: function.call(path="/_/ready").status == 200, within=40, what="the tunnel's end")


def open_deaf(function: Watchdog) -> None:
    """Open a tunnel whose far end never closes, and leave."""
    with function.connect() as raw:
        raw.sendall(b"GET /deaf HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
        received(raw, until_end=b"held\n")


def test_a_client_that_leaves_a_tunnel_gives_its_place_back() -> None:
    """Although the process keeps its end open: no descriptor stays, and no place of `max_inflight`."""
    with running("http", max_inflight="1") as function:
        before = psutil.Process(function.pid).num_fds()
        open_deaf(function)
        assert function.call(path="/_/ready").status == 429
        until(lambda: function.call(path="/_/ready").status == 200, within=40, what="the tunnel's end")
        until(lambda: psutil.Process(function.pid).num_fds() <= before, what="its descriptors")


def test_a_replica_that_ends_does_not_wait_for_half_a_tunnel() -> None:
    """A client that has left is nobody to wait for, whatever `write_timeout` allows."""
    with running("http", write_timeout="300s") as function:
        open_deaf(function)
        function.terminate()
        assert function.wait() == 0


def test_the_access_log(function: Watchdog) -> None:
    """One line a call, with the call id when asked for; probes of Kubernetes leave none."""
    function.call("POST", "/logged", b"twelve bytes", {"X-Call-Id": "abc"})
    pattern = re.compile(r".* POST /logged - 200 OK - ContentLength: 12B \(\d+\.\d{4}s\) \[abc\]")
    until(lambda: any(map(pattern.fullmatch, function.texts)), what=f"the line\n{function.log}")
    function.call("POST", "/probed", b"", {"User-Agent": "kube-probe/1.31"})
    function.call("POST", "/after", b"")
    until(lambda: "/after" in function.log, what="the line")
    assert "/probed" not in function.log


def test_a_body_can_be_made_whole_first() -> None:
    """`http_buffer_req_body`: a chunked request reaches the process with a length."""
    with running("http", http_buffer_req_body="true") as function, function.connect() as raw:
        raw.sendall(b"POST /head HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        raw.sendall(b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
        data = b""
        while part := raw.recv(4096):
            data += part
    assert b"Content-Length: 5\n" in data
    assert b"Transfer-Encoding: chunked\n" not in data


@pytest.mark.parametrize("absolute", [True, False])
def test_a_process_may_listen_on_a_unix_socket(absolute: bool) -> None:
    """`unix:/PATH`, or `unix:NAME` in the folder for scratch files: no port to share with other replicas."""
    with watchdog(start=False, HILBERT_MODE="http", fprocess=f"{sys.executable} -u server.py") as function:
        shutil.copy(FUNCTION / "server.py", function.folder)
        path = f"{function.folder}/up.sock"
        url = f"unix:{path}" if absolute else "unix:up.sock"
        own = {"upstream_url": url, "UPSTREAM_SOCKET": path, "TMPDIR": str(function.folder)}
        function.env = dict(function.env) | own
        function.start()
        function.wait_ready()
        assert function.exchange("/stream", b"x" * 500_000).body == b"x" * 500_000
        assert function.call("POST", body=b"again").body == b"again"


def test_a_process_that_stops_listening_is_an_error_of_the_watchdogs() -> None:
    """500, marked as not the function's own."""
    source = (
        "import socket, sys, time\n"
        "s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "while True:\n"
        "    c, _ = s.accept()\n"
        "    c.recv(1000)\n"
        "    c.close()\n"
    )
    with (
        held_port() as port,
        watchdog(start=False, HILBERT_MODE="http", http_upstream_url=f"http://127.0.0.1:{port}") as function,
    ):
        (function.folder / "s.py").write_text(source)
        function.env = dict(function.env) | {"fprocess": f"{sys.executable} s.py {port}"}
        function.start()
        function.wait_ready()
        for _ in range(3):
            answer = function.call("POST", body=b"x")
            assert (answer.status, answer.headers["X-OpenFaaS-Internal"]) == (500, "of-watchdog")
            assert "X-Duration-Seconds" in answer.headers
