"""The end of a replica: by SIGTERM, twice, and by the end of its own process."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import sys
from pathlib import Path

import pytest

from support.ports import held_port
from support.watchdog import UnixConnection, running, runs, until, waiting, watchdog


def test_an_idle_replica_ends_with_0(mode: str) -> None:
    """SIGTERM to one with nothing to do."""
    with running(mode) as function:
        function.terminate()
        assert function.wait() == 0


def test_a_replica_that_is_still_starting_ends_at_once() -> None:
    """SIGTERM while the handler is imported."""
    source = "import pathlib, time\npathlib.Path('loading').touch()\ntime.sleep(1000)\n"
    with watchdog(ready=False, handler=source) as function:
        until(lambda: (function.folder / "loading").exists(), what="the import")
        function.terminate()
        assert function.wait() == 128 + signal.SIGTERM


def test_a_call_under_way_is_answered(mode: str) -> None:
    """SIGTERM in the middle of a call: its answer comes, with `Connection: close`, and then the end."""
    with running(mode) as function:
        with waiting(function) as call:
            function.terminate()
            until(lambda: function.call(path="/_/health").status == 503, what="the end to begin")
            assert function.process is not None
            assert function.process.poll() is None
            (function.folder / "release").touch()
            answer = call.result()
        assert (answer.status, answer.body) == (200, b"done")
        assert answer.headers["Connection"] == "close"
        assert function.wait() == 0


def test_a_late_call_is_answered_too(mode: str) -> None:
    """A call that comes while the replica ends, on a new connection or an old one, is answered."""
    with running(mode) as function:
        kept = UnixConnection(function.socket_path)
        kept.request("POST", "/", body=b"1")
        kept.getresponse().read()
        with waiting(function):
            function.terminate()
            until(lambda: function.call(path="/_/ready").status == 503, what="the end to begin")
            late = function.call("POST", body=b"late")
            assert (late.body, late.headers["Connection"]) == (b"late", "close")
            kept.request("POST", "/", body=b"old")
            answer = kept.getresponse()
            assert (answer.read(), answer.headers["Connection"]) == (b"old", "close")
            kept.close()
        assert function.wait() == 0


def test_waiting_for_calls_has_an_end(mode: str) -> None:
    """After `write_timeout` the replica ends though a call is under way."""
    with running(mode, exec_timeout="1h", write_timeout="400ms") as function, waiting(function):
        function.terminate()
        assert function.wait() == 0


def test_a_second_sigterm_ends_at_once(mode: str) -> None:
    """With the call, and with its processes."""
    with running(mode) as function:
        with waiting(function) as call:
            function.terminate()
            until(lambda: function.call(path="/_/health").status == 503, what="the end to begin")
            below = descendants(function.pid)
            function.terminate()
            assert function.wait() == 128 + signal.SIGTERM
            with pytest.raises((OSError, http.client.HTTPException)):
                call.result()
        until(lambda: not any(map(runs, below)), what="the end of the processes")


def test_a_handler_may_clean_up() -> None:
    """What it registered with `atexit` runs, and what that prints is logged; a hanging thread is not waited for."""
    source = (
        "import atexit, threading\n"
        "atexit.register(print, 'cleaned up')\n"
        "def handle(event, context):\n"
        "    threading.Thread(target=threading.Event().wait).start()\n"
        "    return 'x'\n"
    )
    with watchdog(handler=source) as function:
        function.call()
        function.terminate()
        assert function.wait() == 0
        assert function.texts == ["cleaned up"]


def test_a_process_killed_in_its_answer_cuts_the_connection() -> None:
    """Mode streaming: what was sent must not pass for the whole."""
    script = "sh -c 'echo begun; kill -9 $$'"
    with watchdog(HILBERT_MODE="streaming", fprocess=script) as function:
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            function.call()
        until(lambda: any("signal: killed" in text for text in function.texts), what="a line in the log")


def test_the_end_of_the_process_is_the_replicas_end() -> None:
    """Mode http: a response that has begun is cut, and the watchdog ends with the process's status."""
    with running("http") as function:
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            function.call(path="/die")
        assert function.wait() == 7
        assert function.texts[-1].endswith("The function's process has ended with status 7")


@pytest.mark.parametrize("command", ["sh -c 'exit 7'", "false", "sh -c 'echo no port; kill -9 $$'", "python3 -c 'x('"])
def test_a_process_that_ends_at_once_is_all_that_the_log_tells_of(command: str) -> None:
    """Mode http, while connections are just being made: the process's end, and no traceback of ours."""
    with watchdog(start=False) as function:
        function.env = dict(function.env) | {
            "HILBERT_MODE": "http", "fprocess": command, "upstream_url": "unix:never.sock", "TMPDIR": str(function.folder),
        }  # fmt: skip
        function.start()
        with contextlib.ExitStack() as stack:
            for _ in range(50):
                with contextlib.suppress(OSError):
                    stack.enter_context(function.connect())
            assert function.wait() != 0
        assert "The function's process has ended with" in function.texts[-1]
        assert "hilbert" not in function.log
        assert "Traceback" not in function.log.replace('Traceback (most recent call last):\n  File "<string>"', "")


def test_a_process_killed_is_a_replicas_end_by_signal() -> None:
    """Mode http: 128 and the signal's number, as shells say it."""
    with running("http") as function:
        (child,) = descendants(function.pid)
        os.kill(child, signal.SIGKILL)
        assert function.wait() == 128 + signal.SIGKILL


def test_the_process_dies_with_its_watchdog() -> None:
    """Mode http: SIGKILL for the watchdog leaves no server behind."""
    with running("http") as function:
        (child,) = descendants(function.pid)
        assert function.process is not None
        function.process.kill()
        function.wait()
        until(lambda: not runs(child), what="the end of the process")


def test_the_process_is_asked_to_end_first() -> None:
    """Mode http: SIGTERM reaches the process once the calls are answered, and what it then writes is logged."""
    source = "import signal,sys,time\nsignal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit(0)))\n"
    source += "import socket\ns=socket.create_server(('127.0.0.1', int(sys.argv[1])))\nwhile True: s.accept()"
    with (
        held_port() as port,
        watchdog(start=False, HILBERT_MODE="http", upstream_url=f"127.0.0.1:{port}") as function,
    ):
        (function.folder / "s.py").write_text(source)
        function.env = dict(function.env) | {"fprocess": f"{sys.executable} -u s.py {port}"}
        function.start()
        function.wait_ready()
        function.terminate()
        assert function.wait() == 0
        assert any(text.endswith("stdout: bye") for text in function.texts)


def descendants(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
