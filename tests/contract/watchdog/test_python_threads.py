"""Mode python: where plain handlers run, and what they may rely on there, short or long, alone or beside others."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator

import pytest

from support.watchdog import Watchdog, until, waiting, watchdog

HANDLER = """
import asyncio, contextvars, json, os, signal, sys, threading, time
from pathlib import Path

LOCAL = threading.local()
VARIABLE = contextvars.ContextVar("VARIABLE", default="")

def rest():
    Path("started").touch()
    while not Path("release").exists():
        time.sleep(0.002)

async def later():
    await asyncio.sleep(0)
    return "from the loop"

def signals():
    try:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    except ValueError:
        return "refused"
    return "set"

def forked():
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, b"child")
        os._exit(0)
    os.wait()
    return os.read(read, 100).decode()

def pieces():
    yield "first "
    rest()
    yield "second"

ANSWERS = {"/loop": lambda: asyncio.run(later()), "/signal": signals, "/fork": forked, "/pieces": pieces}

def handle(event, context):
    if event.path in ANSWERS:
        return ANSWERS[event.path]()
    me = event.headers.get("X-Call-Id", "")
    before = threading.get_ident()
    LOCAL.me = me
    VARIABLE.set(me)
    print("begin of", me)
    if event.path == "/wait":
        rest()
    print("end of", me)
    thread = threading.current_thread()
    return json.dumps({"same": threading.get_ident() == before, "local": LOCAL.me, "variable": VARIABLE.get(),
        "main": thread is threading.main_thread(), "name": thread.name, "daemon": thread.daemon})
"""


@pytest.fixture
def function() -> Iterator[Watchdog]:
    with watchdog(handler=HANDLER, prefix_logs="false") as made:
        yield made


def check(text: str, call: str) -> None:
    """What a handler saw of its thread."""
    seen = json.loads(text)
    assert (seen["same"], seen["local"], seen["variable"]) == (True, call, call)
    assert not seen["main"]
    assert seen["daemon"]
    assert seen["name"].startswith("handler-")


def test_a_handler_that_waits_holds_nothing_up(function: Watchdog) -> None:
    """The first call of a replica, of which nothing is known yet: health, readiness and other calls are answered."""
    with waiting(function, headers={"X-Call-Id": "long"}) as long:
        assert function.call(path="/_/health").status == 200
        assert function.call(path="/_/ready").status == 200
        for number in range(3):
            check(function.call(headers={"X-Call-Id": f"short-{number}"}).text, f"short-{number}")
        assert not long.done
        (function.folder / "release").touch()
        check(long.result().text, "long")


def test_nor_does_one_after_many_short_calls(function: Watchdog) -> None:
    """When the replica has every reason to think that calls are short."""
    for _ in range(100):
        function.call()
    with waiting(function, headers={"X-Call-Id": "long"}) as long:
        check(function.call(headers={"X-Call-Id": "short"}).text, "short")
        (function.folder / "release").touch()
        check(long.result().text, "long")


def test_nor_does_a_body_that_is_made_slowly(function: Watchdog) -> None:
    with waiting(function, "/pieces") as long:
        assert function.call(path="/_/health").status == 200
        assert function.call(path="/signal").text == "refused"
        (function.folder / "release").touch()
        assert long.result().text == "first second"


def test_lines_have_the_id_of_their_call_wherever_it_runs(function: Watchdog) -> None:
    """Before and after the loop goes to another thread, and of calls beside it."""
    with waiting(function, headers={"X-Call-Id": "long"}) as long:
        for number in range(5):
            function.call(headers={"X-Call-Id": f"short-{number}"})
        (function.folder / "release").touch()
        long.result()
    calls = ["long", *(f"short-{number}" for number in range(5))]
    wanted = {(call, f"{what} of {call}") for call in calls for what in ("begin", "end")}
    line = re.compile(r"\S+Z(?:/(\S+))? (.*)")
    until(lambda: wanted <= {line.fullmatch(one).groups("") for one in function.log.splitlines()}, what=function.log)  # type: ignore[union-attr]


@pytest.mark.parametrize(("path", "text"), [("/loop", "from the loop"), ("/signal", "refused"), ("/fork", "child")])
def test_what_a_thread_may_do(function: Watchdog, path: str, text: str) -> None:
    """The first time and later, and while another call is long: run a loop of asyncio's, set no signal handler, fork."""
    for _ in range(3):
        assert function.call(path=path).text == text
    with waiting(function):
        assert function.call(path=path).text == text


def test_the_end_waits_for_calls_on_every_thread(function: Watchdog) -> None:
    """SIGTERM while one call has lost the loop: it is answered, and the process ends."""
    with waiting(function, headers={"X-Call-Id": "long"}) as long:
        function.terminate()
        (function.folder / "release").touch()
        check(long.result().text, "long")
    assert function.wait() == 0


def test_long_calls_run_side_by_side(function: Watchdog) -> None:
    """As many as come: each waits for what the last one brings."""
    with waiting(function, headers={"X-Call-Id": "0"}) as first:
        answers: list[str] = []

        def call(number: int) -> None:
            answers.append(function.call(path="/wait", headers={"X-Call-Id": str(number)}).text)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(1, 20)]
        for thread in threads:
            thread.start()
        until(lambda: function.log.count("begin of") == 20, what=f"the calls\n{function.log}")
        (function.folder / "release").touch()
        for thread in threads:
            thread.join(20)
        assert len(answers) == 19
        check(first.result().text, "0")
