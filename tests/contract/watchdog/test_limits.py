"""Limits on calls at once and on time."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from support.watchdog import UnixConnection, Watchdog, running, runs, state, until, waiting, watchdog


def test_calls_over_max_inflight_get_429(mode: str) -> None:
    """The exact answer of OpenFaaS's limiter; health is not limited, readiness is; room comes back."""
    with running(mode, max_inflight="1") as function:
        with waiting(function) as first:
            second = function.call("POST", body=b"x")
            assert second.status == 429
            assert second.text == "Concurrent request limit exceeded. Max concurrent requests: 1\n"
            assert second.headers["X-OpenFaaS-Internal"] == "faas-middleware"
            assert second.headers["Content-Type"] == "text/plain"
            assert function.call(path="/_/health").status == 200
            assert function.call(path="/_/ready").status == 429
            (function.folder / "release").touch()
            assert first.result().body == b"done"
        assert function.call("POST", body=b"x").body == b"x"
        assert function.call(path="/_/ready").status == 200


@pytest.mark.parametrize("limit", ["exec_timeout", "write_timeout"])
def test_a_call_over_its_time_gets_504(mode: str, limit: str) -> None:
    """And says who answered and after how long; the classic watchdog says 408."""
    with running(mode, **{limit: "50ms"}) as function:
        with waiting(function) as call:
            answer = call.result()
        if mode == "classic":
            assert (answer.status, answer.body) == (408, b"Killed process.\n")
        else:
            assert (answer.status, answer.body) == (504, b"")
            assert answer.headers["X-OpenFaaS-Internal"] == "of-watchdog"
        assert re.fullmatch(r"\d+\.\d{6}", answer.headers["X-Duration-Seconds"])


def test_a_request_may_shorten_its_own_time(mode: str) -> None:
    """`X-Timeout` counts where it is shorter."""
    with (
        running(mode, exec_timeout="1h", write_timeout="1h") as function,
        waiting(function, headers={"X-Timeout": "50ms"}) as call,
    ):
        assert call.result().status == (408 if mode == "classic" else 504)


def test_a_request_cannot_lengthen_its_time(mode: str) -> None:
    """`X-Timeout` beyond `exec_timeout` changes nothing."""
    with running(mode, exec_timeout="50ms") as function, waiting(function, headers={"X-Timeout": "1h"}) as call:
        assert call.result().status == (408 if mode == "classic" else 504)


def test_a_timeout_kills_the_whole_tree(forking: str) -> None:
    """Neither the process nor its children outlive the call."""
    with running(forking, exec_timeout="300ms") as function:
        assert function.call("POST", "/tree").status in (408, 504)
        until(lambda: not alive(function), what="the tree's end")


def test_a_client_that_leaves_ends_the_call(mode: str) -> None:
    """Its processes are killed, its task is cancelled, its place is free again."""
    with running(mode, max_inflight="1") as function:
        if mode in ("python", "http"):
            path, marker = "/wait", "started"  # A thread cannot be killed; the call is over all the same.
        else:
            path, marker = "/tree", "tree"
        raw = function.connect()
        raw.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % path.encode())
        until(lambda: (function.folder / marker).exists(), what=f"the call's start\n{function.log}")
        assert function.call("POST", body=b"x").status == 429
        raw.close()
        until(lambda: function.call("POST", body=b"x").status == 200, what="the end of the call")
        if marker == "tree":
            until(lambda: not alive(function), what="the tree's end")
        (function.folder / "release").touch()


def test_leftover_children_end_with_their_call(forking: str) -> None:
    """A process that leaves children behind takes them along, though it ends well itself."""
    with watchdog(HILBERT_MODE=forking, fprocess="sh -c 'sleep 1000 & echo $! $! > tree; echo gone'") as function:
        assert function.call("POST", body=b"").text == "gone\n"
        until(lambda: not alive(function), what="the end of the child")


def test_slow_bodies_are_refused(forking: str) -> None:
    """`read_timeout` between two bytes of a body: 408, and nothing is left running.

    Where the answer has begun already, it is cut short instead.
    """
    with running(forking, read_timeout="100ms") as function, function.connect() as raw:
        raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        answer = everything(raw)
        if forking == "streaming":
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert not answer.endswith(b"0\r\n\r\n")
        else:
            assert answer.startswith(b"HTTP/1.1 408 ")
        until(lambda: not children(function), what="the process's end")


def test_a_body_over_the_buffer_limit_is_413() -> None:
    """Modes that hold a body whole say so, with or without a length, and before it is all sent."""
    for mode in ("python", "serializing", "classic"):
        with running(mode, buffer_limit="1000") as function:
            assert function.call("POST", body=b"x" * 1000).status == 200
            assert function.call("POST", body=b"x" * 1001).status == 413
            connection = UnixConnection(function.socket_path)
            connection.request("POST", "/", body=iter([b"x" * 600] * 2), encode_chunked=True)
            assert connection.getresponse().status == 413
            connection.close()


def test_output_over_the_buffer_limit_is_500() -> None:
    """A process that never stops writing is killed."""
    for mode in ("serializing", "classic"):
        with watchdog(HILBERT_MODE=mode, fprocess="yes", buffer_limit="100000") as function:
            answer = function.call()
            assert answer.status == 500
            assert "buffer_limit" in answer.text
            until(lambda: not children(function), what="the process's end")


def test_streams_need_no_memory() -> None:
    """96 MiB in and out through one process or upstream, with little more resident memory than before."""
    for mode, path in (("streaming", "/"), ("http", "/stream")):
        with running(mode) as function:
            function.exchange(path, b"x" * 1_000_000)
            before = resident(function.pid)
            sent = os.urandom(1 << 20) * 96
            assert function.exchange(path, sent).body == sent
            assert resident(function.pid) - before < 12 << 20, mode


def test_a_slow_reader_stops_the_process() -> None:
    """Output that nobody takes is not gathered: the process is made to wait."""
    with watchdog(HILBERT_MODE="streaming", fprocess="yes", write_timeout="1h", exec_timeout="1h") as function:
        with function.connect() as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert raw.recv(1000)
            until(lambda: any(asleep(pid) for pid in children(function)), what="the process to wait")
            assert resident(function.pid) < 100 << 20
        until(lambda: not children(function), what="the process's end")


def everything(raw: socket.socket) -> bytes:
    """What comes until the far end closes, or cuts."""
    data = b""
    try:
        while part := raw.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def alive(function: Watchdog) -> bool:
    """Whether a process that wrote itself into `tree` runs."""
    pids = (function.folder / "tree").read_text().split()
    return any(runs(int(pid)) for pid in pids)


def children(function: Watchdog) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{function.pid}/task/{function.pid}/children").read_text().split()]


def asleep(pid: int) -> bool:
    """The process waits inside `write`, by the kernel's own word."""
    try:
        return "pipe" in Path(f"/proc/{pid}/wchan").read_text() or state(pid) == "S"
    except FileNotFoundError:
        return False


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
