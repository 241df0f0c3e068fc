"""Which call wrote a line of the log: told by the stamp, in every mode, and never by what was printed."""

from __future__ import annotations

import re
import sys
import threading

import pytest

from support.ports import held_port
from support.watchdog import Watchdog, running, until, watchdog

LINE = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z(?:/(\S+))? (.*)")


def told(function: Watchdog) -> set[tuple[str, str]]:
    """(call id, text) of every line."""
    return {(found[1] or "", found[2]) for line in function.log.split("\n")[:-1] if (found := LINE.fullmatch(line))}


def calls(function: Watchdog, *ids: str) -> None:
    """A call of each id, all at once."""
    threads = [
        threading.Thread(target=function.call, args=("POST", "/say"), kwargs={"headers": {"X-Call-Id": one}})
        for one in ids
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)


@pytest.mark.parametrize("mode", ["python", "python-async", "streaming", "serializing", "classic"])
def test_what_a_function_writes_has_the_id_of_its_call(mode: str) -> None:
    """Of calls under way together, too; a call without an id leaves none."""
    with running(mode, prefix_logs="false", combine_output="false") as function:
        calls(function, "a-1", "b:2", "c.3")
        function.call("POST", "/say")
        wanted = {(one, "to the log") for one in ("a-1", "b:2", "c.3", "")}
        until(lambda: wanted <= told(function), what=f"the lines\n{function.log}")


@pytest.mark.parametrize("mode", ["http", "streaming", "serializing", "classic"])
def test_so_have_the_watchdogs_own_lines(mode: str) -> None:
    with running(mode, prefix_logs="false", combine_output="false") as function:
        calls(function, "mine")
        own = "Forking fprocess." if mode == "classic" else "POST /say - 200"
        until(lambda: any(i == "mine" and own in text for i, text in told(function)), what=f"a line\n{function.log}")


@pytest.mark.parametrize("bad", ["a b", "a/b<script>", "x" * 129, "ü"])
def test_what_is_no_call_id_is_left_out(bad: str) -> None:
    with running("python", prefix_logs="false") as function:
        function.call("POST", "/say", headers={"X-Call-Id": bad.encode("utf-8").decode("latin-1")})
        until(lambda: ("", "to the log") in told(function), what=f"the line\n{function.log}")


THREADS = """
import asyncio, logging, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
logging.basicConfig(level=logging.INFO, format="%(message)s")
pool = ThreadPoolExecutor(1)
print("at the import")

def handle(event, context):
    me = event.body.decode()
    def say(how):
        for part in (how, " of ", me, "\\n"):
            sys.stdout.write(part)
            time.sleep(0.001)
    say("line")
    print("error of", me, file=sys.stderr)
    logging.info("logged by %s", me)
    thread = threading.Thread(target=say, args=("thread",))
    thread.start()
    thread.join()
    pool.submit(say, "pool").result()
    asyncio.run(asyncio.to_thread(say, "task"))
    sys.stdout.buffer.write(b"bytes of " + me.encode() + b"\\n")
    print("no end of", me, end="", flush=True)
"""


def test_threads_tasks_pools_and_loggers_know_the_call() -> None:
    """Pieces of lines of two calls never mix; a line without an end is one at the end of its call."""
    with watchdog(handler=THREADS) as function:
        names = [f"call-{number}" for number in range(6)]
        threads = [
            threading.Thread(target=function.call, args=("POST", "/", name.encode(), {"X-Call-Id": name}))
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        said = ("line of", "error of", "logged by", "thread of", "pool of", "task of", "bytes of", "no end of")
        wanted = {(name, f"{what} {name}") for name in names for what in said} | {("", "at the import")}
        until(lambda: wanted <= told(function), what=f"{wanted - told(function)}\n{function.log}")
        assert told(function) == wanted


def test_a_failing_handlers_traceback_has_the_id() -> None:
    with watchdog(handler="def handle(event, context):\n    raise KeyError('lost')\n") as function:
        function.call(headers={"X-Call-Id": "broken"})
        until(lambda: ("broken", "KeyError: 'lost'") in told(function), what=f"the line\n{function.log}")
        assert {call for call, _ in told(function)} == {"broken"}


ASYNC = """
import asyncio
async def later(me):
    await asyncio.sleep(0)
    print("task", me)
async def handle(event, context):
    me = event.body.decode()
    await asyncio.gather(later(me), later(me))
    await asyncio.get_running_loop().run_in_executor(None, print, "executor", me)
    yield b"one"
    print("between", me)
    yield b"two"
"""


def test_tasks_of_an_async_handler_know_the_call() -> None:
    """Also while its answer is streamed."""
    with watchdog(handler=ASYNC) as function:
        for name in ("first", "second"):
            assert function.call("POST", "/", name.encode(), {"X-Call-Id": name}).text == "onetwo"
        wanted = {(name, f"{what} {name}") for name in ("first", "second") for what in ("task", "executor", "between")}
        until(lambda: wanted <= told(function), what=f"the lines\n{function.log}")
        assert told(function) == wanted


FORGED = (
    "2026-01-01T00:00:00.000000000Z/other text",
    "/other text",
    "other text",
    "\r2026-01-01T00:00:00Z/other text",
)


def test_printed_text_is_never_taken_for_an_id() -> None:
    """Whatever it looks like: it is text of the call that printed it."""
    handler = f"def handle(event, context):\n    for line in {FORGED!r}:\n        print(line)\n"
    with watchdog(handler=handler) as function:
        function.call(headers={"X-Call-Id": "true"})
        until(lambda: len(told(function)) == len(FORGED), what=f"the lines\n{function.log}")
        assert told(function) == {("true", line) for line in FORGED}


SERVER = """
import http.server, os, sys
log = int(os.environ["WATCHDOG_LOG_FD"])
class Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        call = self.headers["X-Call-Id"].encode()
        os.write(log, call + b" of the call\\n" + b" of nobody\\n" + b"a b\\xff c\\nbad/id x\\n")
        print("printed", flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_): ...
print("mine 2026", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def test_a_process_that_serves_all_calls_may_tell_them_apart() -> None:
    """Mode `http`: `CALL-ID TEXT` on the descriptor that it is told of; what it prints itself has no id."""
    with watchdog(start=False) as function, held_port() as port:
        (function.folder / "server.py").write_text(SERVER)
        function.env = dict(function.env) | {
            "HILBERT_MODE": "http",
            "fprocess": f"{sys.executable} server.py {port}",
            "upstream_url": f"http://127.0.0.1:{port}",
            "prefix_logs": "false",
        }
        function.start().wait_ready()
        function.call("POST", headers={"X-Call-Id": "here"})
        wanted = {
            ("here", "of the call"),
            ("", "of nobody"),
            ("a", "b\ufffd c"),
            ("", "bad/id x"),
            ("", "printed"),
            ("", "mine 2026"),
        }
        until(lambda: wanted <= told(function), what=f"{wanted - told(function)}\n{function.log}")


def test_pipes_of_calls_that_are_over_are_closed() -> None:
    """Each call of a process of its own has a pipe for its errors, and not longer."""
    from pathlib import Path

    with running("streaming", prefix_logs="false") as function:
        calls(function, "warm")
        held = len(list(Path(f"/proc/{function.pid}/fd").iterdir()))
        for number in range(20):
            function.call("POST", "/say", headers={"X-Call-Id": f"n-{number}"})
        until(
            lambda: len(list(Path(f"/proc/{function.pid}/fd").iterdir())) <= held + 1,
            what="the descriptors of calls that are over",
        )
