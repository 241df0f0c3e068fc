"""Mode python: what a handler gets and what it may return."""

from __future__ import annotations

import http.client
import json
import sys
import textwrap
import threading
from collections.abc import Iterator

import pytest

from support.watchdog import Watchdog, until, watchdog

HANDLER = """
import json, sys, time
from pathlib import Path

def endless():
    try:
        n = 0
        while True:
            n += 1
            yield b"x" * 65536
            Path("count").write_text(str(n))
    finally:
        Path("closed").touch()

def late():
    yield "first "
    while not Path("go").exists():
        time.sleep(0.005)
    yield b"second"

def broken():
    yield "begun"
    raise RuntimeError("in the middle")

ANSWERS = {
    "/none": lambda: None,
    "/text": lambda: "grüß",
    "/bytes": lambda: b"\\x00\\xff",
    "/dict": lambda: {"statusCode": 201, "body": "made", "headers": {"X-A": "1", "Content-Type": "text/x"}},
    "/json": lambda: {"statusCode": 200, "body": {"a": [1]}},
    "/list": lambda: {"body": [1, 2]},
    "/plain-dict": lambda: {"hello": "world"},
    "/status-only": lambda: {"statusCode": 204},
    "/text-status": lambda: {"statusCode": "202", "body": ""},
    "/pair": lambda: ("gone", 410),
    "/headers": lambda: ("x", {"X-B": "2"}),
    "/triple": lambda: ("x", 202, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]),
    "/many": lambda: {"body": "x", "headers": {"Set-Cookie": ["a=1", "b=2"]}},
    "/number": lambda: 42,
    "/generator": lambda: (str(n) for n in range(3)),
    "/late": late,
    "/broken": broken,
    "/endless": endless,
    "/bad-status": lambda: {"statusCode": 99},
    "/bad-headers": lambda: {"headers": 5},
    "/bad-chunk": lambda: iter([1]),
    "/bad-json": lambda: {"body": {"a": object()}},
    "/raise": lambda: 1 / 0,
    "/exit": lambda: sys.exit(4),
}

def handle(event, context):
    if event.path == "/event":
        seen = {"method": event.method, "path": event.path, "query": event.query, "all": event.query.getlist("a"),
            "body": event.body.decode(), "type": event.headers["content-type"], "has": "X-THING" in event.headers,
            "names": sorted(event.headers.keys()), "missing": event.headers.get("nope", "default"),
            "repeated": event.headers.get_all("x-thing"),
            "context": [context.name, context.namespace, bool(context.hostname)]}
        return {"body": seen}
    if event.path == "/path with ü":
        return "decoded"
    return ANSWERS[event.path]()
"""


@pytest.fixture(scope="module")
def function() -> Iterator[Watchdog]:
    with watchdog(handler=HANDLER, OPENFAAS_NAME="fn", OPENFAAS_NAMESPACE="dev") as made:
        yield made


@pytest.mark.parametrize(
    ("path", "status", "body", "kind"),
    [
        ("/none", 200, b"", "text/html; charset=utf-8"),
        ("/text", 200, "grüß".encode(), "text/html; charset=utf-8"),
        ("/bytes", 200, b"\x00\xff", "text/html; charset=utf-8"),
        ("/dict", 201, b"made", "text/x"),
        ("/json", 200, b'{"a":[1]}\n', "application/json"),
        ("/list", 200, b"[1,2]\n", "application/json"),
        ("/plain-dict", 200, b'{"hello":"world"}\n', "application/json"),
        ("/status-only", 204, b"", "text/html; charset=utf-8"),
        ("/text-status", 202, b"", "text/html; charset=utf-8"),
        ("/pair", 410, b"gone", "text/html; charset=utf-8"),
        ("/headers", 200, b"x", "text/html; charset=utf-8"),
        ("/triple", 202, b"x", "text/html; charset=utf-8"),
        ("/generator", 200, b"012", "text/html; charset=utf-8"),
        ("/path%20with%20%C3%BC", 200, b"decoded", "text/html; charset=utf-8"),
    ],
)
def test_return_values(function: Watchdog, path: str, status: int, body: bytes, kind: str | None) -> None:
    """As in OpenFaaS's python3-http template, and what is added to it."""
    answer = function.call(path=path)
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (status, body, kind)


def test_headers_may_repeat(function: Watchdog) -> None:
    """As pairs, or as a list of values."""
    assert function.call(path="/triple").headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert function.call(path="/many").headers.get_all("Set-Cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/raise", "ZeroDivisionError: division by zero"),
        ("/exit", "SystemExit: 4"),
        ("/number", "handle returned int"),
        ("/bad-status", "statusCode must be a number from 200 to 999, not 99"),
        ("/bad-headers", "headers must be a dict or a list of pairs, not int"),
        ("/bad-json", "the body cannot be written as JSON"),
        ("/missing", "KeyError: '/missing'"),
    ],
)
def test_failures_are_told_to_the_log_alone(function: Watchdog, path: str, reason: str) -> None:
    """500 with a short body; the traceback is in the log, and the function goes on."""
    answer = function.call(path=path)
    assert (answer.status, answer.text) == (500, "The function failed; its log says why.\n")
    until(lambda: reason in function.log, what=f"{reason}\n{function.log}")
    assert function.call(path="/pair").status == 410


@pytest.mark.parametrize("path", ["/broken", "/bad-chunk"])
def test_a_stream_that_fails_is_cut(function: Watchdog, path: str) -> None:
    """What was sent cannot pass for the whole."""
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        function.call(path=path)


def test_the_event(function: Watchdog) -> None:
    """Everything about the request, headers in any case."""
    answer = function.call(
        "POST", "/event?a=1&a=2&b=%20&c", b"text", {"Content-Type": "text/plain", "x-thing": "y", "Accept-Encoding": ""}
    )
    assert json.loads(answer.body) == {
        "method": "POST",
        "path": "/event",
        "query": {"a": "1", "b": " ", "c": ""},
        "all": ["1", "2"],
        "body": "text",
        "type": "text/plain",
        "has": True,
        "names": ["Accept-Encoding", "Content-Length", "Content-Type", "Host", "X-Thing"],
        "missing": "default",
        "repeated": ["y"],
        "context": ["fn", "dev", True],
    }


def test_a_stream_comes_as_it_is_made(function: Watchdog) -> None:
    """The first piece arrives before the second exists."""
    with function.connect() as raw:
        raw.sendall(b"GET /late HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while b"first " not in data:
            data += raw.recv(4096)
        assert b"second" not in data
        (function.folder / "go").touch()
        while part := raw.recv(4096):
            data += part
    assert data.endswith(b"6\r\nsecond\r\n0\r\n\r\n")


def test_a_stream_stops_with_its_reader(function: Watchdog) -> None:
    """A generator is held up by a slow client, and closed when the client goes."""
    with function.connect() as raw:
        raw.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        raw.recv(1000)
        until(lambda: (function.folder / "count").exists() and steady(function), what="the generator to be held up")
        assert int((function.folder / "count").read_text()) < 200
    until(lambda: (function.folder / "closed").exists(), what="the generator's end")


def steady(function: Watchdog) -> bool:
    """The count has not moved while some health checks were answered."""
    before = (function.folder / "count").read_text()
    for _ in range(20):
        function.call(path="/_/health")
    return before != "" and (function.folder / "count").read_text() == before


def test_handlers_that_block_do_not_hold_up_others() -> None:
    """Thirty at once, all of which wait for the last."""
    source = """
        import threading
        barrier = threading.Barrier(30, timeout=20)
        def handle(event, context):
            barrier.wait()
            return "met"
    """
    with watchdog(handler=textwrap.dedent(source)) as function:
        answers: list[bytes] = []
        threads = [threading.Thread(target=lambda: answers.append(function.call().body)) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert answers == [b"met"] * 30


def test_threads_that_never_return_do_not_use_up_the_replica() -> None:
    """Calls that overran their time leave room for as many again."""
    source = """
        import threading
        never = threading.Event()
        def handle(event, context):
            if event.path == "/stuck":
                never.wait()
            return "fine"
    """
    with watchdog(handler=textwrap.dedent(source)) as function:
        stuck = []
        for _ in range(64):
            raw = function.connect()
            raw.sendall(b"GET /stuck HTTP/1.1\r\nHost: x\r\nX-Timeout: 20ms\r\n\r\n")
            stuck.append(raw)
        assert all(raw.recv(12) == b"HTTP/1.1 504" for raw in stuck)
        for raw in stuck:
            raw.close()
        assert function.call().body == b"fine"
        function.terminate()
        assert function.wait() == 0, "threads that hang must not keep the process"


def test_the_folder_is_a_package_too() -> None:
    """`import lib`, `from .lib import`, `from function.lib import`, and the package's own `__init__`."""
    source = """
        import lib
        from .lib import WORD
        from function.lib import WORD as again
        import function
        def handle(event, context):
            return " ".join([lib.WORD, WORD, again, function.NAME])
    """
    with watchdog(start=False, handler=textwrap.dedent(source)) as made:
        (made.folder / "lib.py").write_text("WORD = 'word'")
        (made.folder / "__init__.py").write_text("NAME = 'package'")
        made.start()
        made.wait_ready()
        assert made.call().text == "word word word package"


def test_an_async_stream() -> None:
    """An asynchronous iterator as body, an async generator as handler, and one that fails."""
    source = """
        import asyncio
        async def numbers():
            for n in range(3):
                await asyncio.sleep(0)
                yield str(n)
        async def handle(event, context):
            if event.path == "/raise":
                raise RuntimeError("on purpose")
            return {"statusCode": 203, "body": numbers(), "headers": {"Content-Type": "text/plain"}}
    """
    with watchdog(handler=textwrap.dedent(source)) as function:
        answer = function.call()
        assert (answer.status, answer.body, answer.headers["Content-Type"]) == (203, b"012", "text/plain")
        assert function.call(path="/raise").status == 500
    with watchdog(handler="async def handle(event, context):\n    yield 'a'\n    yield b'b'\n") as function:
        assert function.call().body == b"ab"


def test_a_coroutine_from_a_plain_handler_is_refused() -> None:
    """With the way out in the log."""
    source = "async def work(): return 'x'\ndef handle(event, context): return work()\n"
    with watchdog(handler=source) as function:
        assert function.call().status == 500
        until(lambda: "make handle itself async" in function.log, what="the hint")


def test_a_slow_async_call_does_not_hold_up_others() -> None:
    """Calls of an async handler run side by side."""
    source = """
        import asyncio
        gate = asyncio.Event()
        async def handle(event, context):
            if event.path == "/open":
                gate.set()
            await gate.wait()
            return "through"
    """
    with watchdog(handler=textwrap.dedent(source)) as function:
        answers: list[bytes] = []
        threads = [threading.Thread(target=lambda: answers.append(function.call().body)) for _ in range(10)]
        for thread in threads:
            thread.start()
        assert function.call(path="/open").body == b"through"
        for thread in threads:
            thread.join(20)
    assert answers == [b"through"] * 10


@pytest.mark.parametrize(("peer", "address"), [("192.0.2.1:80", "192.0.2.1"), ("[2001:db8::1]:80", "2001:db8::1")])
def test_flask_knows_the_callers_address(peer: str, address: str) -> None:
    """Without the port that the gateway gives with it."""
    source = "from flask import request\n\ndef handle(event, context):\n    return request.remote_addr\n"
    site = next(path for path in sys.path if path.endswith("site-packages"))
    with watchdog(handler=source, HILBERT_LAYERS=site) as function:
        assert function.call(headers={"X-Forwarded-For": peer}).text == address
