"""Modes with one process per request: what the process is told, and how each mode answers."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from support.watchdog import Watchdog, running, runs, until, waiting, watchdog


def environment(function: Watchdog, *args: object) -> dict[str, str]:
    lines = function.call(*args).text.splitlines()  # type: ignore[arg-type]
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_the_request_is_in_the_environment(forking: str) -> None:
    """Headers in canonical spelling, method, path and raw query, beside the function's own variables."""
    with watchdog(HILBERT_MODE=forking, fprocess="env", OWN="1", OPENFAAS_NAME="fn") as function:
        found = environment(
            function, "POST", "/a%20b/c?x=%2F&y", b"12345", {"x-call-id": "7", "Content-Type": "text/x"}
        )
        bare = environment(function)
    assert found["Http_X_Call_Id"] == "7"
    assert found["Http_Content_Type"] == "text/x"
    assert found["Http_Method"] == "POST"
    assert found["Http_Path"] == "/a b/c"
    assert found["Http_Query"] == "x=%2F&y"
    assert (found["OWN"], found["OPENFAAS_NAME"]) == ("1", "fn")
    assert "Http_Query" not in bare
    assert bare["Http_Path"] == "/"
    assert found["Http_Content_Length"] == "5"
    if forking == "classic":
        assert (found["Http_ContentLength"], found["Http_Host"]) == ("5", "function")
    else:
        assert "Http_Host" not in found


def test_no_header_takes_the_place_of_the_watchdogs_own_variables(forking: str) -> None:
    """Nor sets one that is not there: method, path and query are what the request line says. A NUL ends no call."""
    forged = {"Method": "DELETE", "Path": "/forged", "Query": "admin=1"}
    with watchdog(HILBERT_MODE=forking, fprocess="env") as function:
        found = environment(function, "GET", "/%00x", None, forged)
    own = {name: value for name, value in found.items() if name.lower() in ("http_method", "http_path", "http_query")}
    assert own == {"Http_Method": "GET", "Http_Path": "/%00x"}


def test_headers_can_be_kept_out() -> None:
    """`cgi_headers=false`, of the classic watchdog."""
    with watchdog(HILBERT_MODE="classic", fprocess="env", cgi_headers="false") as function:
        assert [name for name in environment(function) if name.startswith("Http_")] == []


LEAVING = "sh -c 'setsid sh -c \"sleep 397 & sleep 397\" & echo $!; (setsid sleep 397 &) ; echo done; sleep ${LAST:-0}'"


def left(function: Watchdog) -> list[int]:
    """Processes of the function beside the watchdog."""
    return [pid for pid in descendants(function.pid) if runs(pid)]


def descendants(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found[1:]


def test_a_call_leaves_no_process_behind(forking: str) -> None:
    """Not in sessions of their own, not below those; and the answer does not wait for them. Calls under way keep theirs."""
    with watchdog(HILBERT_MODE=forking, fprocess=LEAVING, combine_output="false") as function:
        assert function.call().text.endswith("done\n")
        until(lambda: not left(function), what="the end of what was left behind")
    with watchdog(HILBERT_MODE=forking, fprocess=LEAVING, exec_timeout="300ms", LAST="30") as function:
        with contextlib.suppress(http.client.HTTPException, OSError):
            function.call()
        until(lambda: not left(function), what="the end of what was left behind")
    script = "sh -c '(setsid sleep 397 &) ; if [ \"$Http_Path\" = /wait ]; then touch started; while [ ! -e release ]; do sleep 0.01; done; fi'"
    with watchdog(HILBERT_MODE=forking, fprocess=script) as function:
        with waiting(function):
            until(lambda: len(left(function)) >= 2, what="the helper of the call under way")
            function.call(path="/other")
            until(lambda: [argv(pid) for pid in left(function)].count(b"sleep\x00397\x00") == 1, what="one helper")
        until(lambda: not left(function), what="the end of what was left behind")


def argv(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def test_no_descriptor_of_the_watchdogs_is_inherited(forking: str) -> None:
    """0, 1, 2, and what `ls` itself opens."""
    with watchdog(HILBERT_MODE=forking, fprocess="ls /proc/self/fd") as function:
        assert function.call("POST", body=b"x").text.split() == ["0", "1", "2", "3"]


def test_signals_are_as_a_shell_would_have_them(forking: str) -> None:
    """A writer whose reader has gone dies of SIGPIPE, as everywhere; nothing is blocked."""
    with watchdog(HILBERT_MODE=forking, fprocess="grep -E 'Sig(Ign|Blk)' /proc/self/status") as function:
        masks = [int(mask, 16) for mask in re.findall("[0-9a-f]{16}", function.call().text)]
    assert [mask & 0x7FFFFFFF for mask in masks] == [0, 0], "32 and 33 are the C library's own"


def test_the_command_is_split_without_a_shell(forking: str) -> None:
    """Quotes as in a shell; `$`, `;` and `|` are plain characters."""
    command = """printf '%s|' 'a b' "c d" e\\ f '$HOME' ; '`id`' '|'"""
    with watchdog(HILBERT_MODE=forking, fprocess=command) as function:
        assert function.call().text == "a b|c d|e f|$HOME|;|`id`|||"


def test_orphans_are_reaped_as_process_1() -> None:
    """In a container the watchdog inherits what has left its group; it does not gather zombies."""
    apart = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], capture_output=True).returncode != 0:
        pytest.skip("process namespaces cannot be made here")
    with watchdog(start=False, HILBERT_MODE="streaming", fprocess="sh -c 'setsid sleep 0.01 & echo x'") as function:
        function.command = (*apart, *function.command)
        function.start()
        function.wait_ready()
        for _ in range(5):
            assert function.call().body == b"x\n"
        (first,) = children(function.pid)
        until(lambda: not children(first), what="the orphans' end")
    until(lambda: not Path(f"/proc/{first}").exists(), what="its own end")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_process_that_ignores_its_input(forking: str) -> None:
    """Its answer comes all the same, and the connection goes on."""
    with watchdog(HILBERT_MODE=forking, fprocess="echo fine") as function:
        assert function.exchange("/", b"x" * 3_000_000).body == b"fine\n"
        assert function.call("POST", body=b"y").body == b"fine\n"


def test_failures_of_the_process(forking: str) -> None:
    """Non-zero exit without output: 500 that says it. With output, streaming has said 200 already."""
    with watchdog(HILBERT_MODE=forking, fprocess="sh -c 'exit 3'") as function:
        answer = function.call()
        assert (answer.status, answer.text.rstrip()) == (500, "exit status 3")
        until(lambda: any(text.endswith("exit status 3") for text in function.texts), what="a line in the log")
    with watchdog(HILBERT_MODE=forking, fprocess="sh -c 'echo out; exit 3'") as function:
        answer = function.call()
        expected = {
            "streaming": (200, "out\n"),
            "serializing": (500, "exit status 3"),
            "classic": (500, "exit status 3\nout\n"),
        }
        assert (answer.status, answer.text) == expected[forking]
    with watchdog(HILBERT_MODE=forking, fprocess="sh -c 'kill -9 $$'") as function:
        assert function.call().text.rstrip() == "signal: killed"


def test_a_command_that_vanishes(forking: str) -> None:
    """The call is refused with 500; the reason is in the log."""
    with watchdog(start=False, HILBERT_MODE=forking) as function:
        script = function.folder / "run"
        script.write_text("#!/bin/sh\necho hi\n")
        script.chmod(0o755)
        function.env = dict(function.env) | {"fprocess": "./run"}
        function.start()
        function.wait_ready()
        assert function.call().body == b"hi\n"
        script.unlink()
        assert function.call().status == 500
        until(lambda: "Cannot start the process: No such file or directory" in function.log, what="the reason")


def test_out_of_descriptors(forking: str) -> None:
    """Calls that find none left are refused, or wait to be accepted; afterwards everything is as before."""
    with running(forking) as function:
        before = len(
            os.listdir(f"/proc/{function.pid}/fd")
        )  # With the connection that asked for readiness, or without.
        resource.prlimit(function.pid, resource.RLIMIT_NOFILE, (before + 40, before + 40))
        with contextlib.ExitStack() as stack:
            calls = [stack.enter_context(waiting(function)) for _ in range(40)]
            (function.folder / "release").touch()
            answers = [call.result() for call in calls]
        assert {answer.status for answer in answers} <= {200, 500}
        assert {answer.body for answer in answers if answer.status == 200} == {b"done"}
        assert function.call("POST", body=b"fine").body == b"fine"
        until(lambda: len(os.listdir(f"/proc/{function.pid}/fd")) <= before, what="every descriptor to be given back")


def test_a_header_too_long_for_a_process(forking: str) -> None:
    """More environment than the kernel takes is an answer, not an end."""
    with watchdog(HILBERT_MODE=forking, fprocess="true") as function:
        assert function.call(headers={f"X-{n}": "y" * 6000 for n in range(10)}).status == 200
        assert function.call(headers={"X": "y" * 70000}).status == 431
        assert function.call().status == 200


def test_output_comes_as_it_is_written() -> None:
    """Mode streaming: the first line arrives while the process still runs."""
    script = "sh -c 'echo one; while [ ! -e go ]; do sleep 0.01; done; echo two'"
    with watchdog(HILBERT_MODE="streaming", fprocess=script) as function, function.connect() as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while b"one\n" not in data:
            data += raw.recv(4096)
        assert b"two" not in data
        (function.folder / "go").touch()
        while part := raw.recv(4096):
            data += part
    assert data.endswith(b"4\r\ntwo\n\r\n0\r\n\r\n")


def test_input_is_passed_on_as_it_comes() -> None:
    """Mode streaming: the process answers a line before the next one is sent."""
    with watchdog(HILBERT_MODE="streaming", fprocess="sed -u s/a/b/") as function, function.connect() as raw:
        raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n")
        data = b""
        while not data.endswith(b"2\r\nb\n\r\n"):
            data += raw.recv(4096)
        raw.sendall(b"3\r\nca\n\r\n0\r\n\r\n")
        while not data.endswith(b"0\r\n\r\n"):
            data += raw.recv(4096)
    assert b"cb\n" in data


@pytest.mark.parametrize("mode", ["streaming", "serializing"])
def test_the_type_is_forced(mode: str) -> None:
    """`content_type`, else octets; the request's own type does not count."""
    with watchdog(HILBERT_MODE=mode, fprocess="cat") as function:
        plain = function.call("POST", body=b"x", headers={"Content-Type": "text/x"})
        assert plain.headers["Content-Type"] == "application/octet-stream"
    with watchdog(HILBERT_MODE=mode, fprocess="cat", content_type="text/y") as function:
        assert function.call().headers["Content-Type"] == "text/y"


class TestClassic:
    """What only the classic watchdog does."""

    def test_its_log_lines(self) -> None:
        """Two lines a call, with Go's date, which log readers of OpenFaaS look for."""
        with watchdog(HILBERT_MODE="classic", fprocess="cat") as function:
            function.call("POST", body=b"hello")
            until(lambda: len(function.texts) == 2, what="two lines")
            date = r"20\d\d/\d\d/\d\d \d\d:\d\d:\d\d "
            assert re.fullmatch(date + r"Forking fprocess\.", function.texts[0])
            assert re.fullmatch(date + r"Wrote 5 Bytes - Duration: \d+\.\d{6}s", function.texts[1])

    def test_its_methods(self) -> None:
        """Others are 405, and GET gets no input."""
        with watchdog(HILBERT_MODE="classic", fprocess="cat") as function:
            assert function.call("GET", body=b"x").body == b""
            assert function.call("OPTIONS").status == 405
            assert function.call("PATCH", body=b"x").body == b"x"

    def test_its_content_types(self) -> None:
        """Forced, else the request's, else by the content."""
        with watchdog(HILBERT_MODE="classic", fprocess="cat") as function:
            mirrored = function.call("POST", body=b"{}", headers={"Content-Type": "application/json"})
            assert mirrored.headers["Content-Type"] == "application/json"
            assert function.call("POST", body=b"x").headers["Content-Type"] == "text/plain; charset=utf-8"
            assert function.call("POST", body=b"\0").headers["Content-Type"] == "application/octet-stream"
            assert function.call("POST", body=b" <!doctype html>").headers["Content-Type"] == "text/html; charset=utf-8"
        with watchdog(HILBERT_MODE="classic", fprocess="cat", content_type="text/z") as function:
            forced = function.call("POST", body=b"x", headers={"Content-Type": "application/json"})
            assert forced.headers["Content-Type"] == "text/z"

    def test_its_two_streams(self) -> None:
        """`combine_output`, on unless it is switched off."""
        script = "sh -c 'echo out; echo err >&2'"
        with watchdog(HILBERT_MODE="classic", fprocess=script) as function:
            assert function.call().text == "out\nerr\n"
        with watchdog(HILBERT_MODE="classic", fprocess=script, combine_output="false") as function:
            assert function.call().text == "out\n"
            until(lambda: any(text.endswith("stderr: err") for text in function.texts), what="the line")

    def test_marshal_request(self) -> None:
        """The request as JSON on standard input."""
        with watchdog(HILBERT_MODE="classic", fprocess="cat", marshal_request="true") as function:
            answer = json.loads(function.call("POST", body=b"\x00x", headers={"x-a": "1"}).body)
        assert answer["body"] == {"raw": base64.b64encode(b"\x00x").decode()}
        assert answer["header"]["X-A"] == ["1"]

    def test_no_time_limit_of_its_own(self) -> None:
        """`exec_timeout` is off by default, unlike in the other modes."""
        from hilbert.watchdog.config import read_config

        assert read_config({"mode": "classic", "fprocess": "cat"}).exec_timeout == 0
        assert read_config({"mode": "streaming", "fprocess": "cat"}).exec_timeout == 30
