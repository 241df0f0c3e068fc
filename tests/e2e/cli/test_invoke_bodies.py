"""Bodies of `invoke` that are wanted twice: a file can be sent again, what came through a pipe cannot."""

from __future__ import annotations

import os
import pty
import threading
from collections.abc import Iterator

import pytest

from support.cli import CommandLine, Gateway, Reply, Result, file_with, scripted
from support.zygote import Zygote

LARGE = os.urandom(300_000)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    found = Zygote()
    yield found
    found.close()


@pytest.fixture
def both(zygote: Zygote) -> Iterator[tuple[Gateway, CommandLine]]:
    with scripted(zygote) as (gateway, line):
        gateway.add("f")
        gateway.bodies["f"] = lambda call: Reply(body=b"%d bytes" % len(call.body))
        yield gateway, line


def run_piped(line: CommandLine, *words: str) -> Result:
    """With `LARGE` coming through a pipe."""
    reading, writing = os.pipe()

    def fill() -> None:
        with open(writing, "wb") as pipe:
            pipe.write(LARGE)

    thread = threading.Thread(target=fill)
    with file_with() as out, file_with() as err, open(reading, "rb") as given:
        line.zygote.start(
            words, environ=line.environ, cwd=line.folder, streams=(given.fileno(), out.fileno(), err.fileno())
        )
        thread.start()
        status = line.zygote.wait(30)
        thread.join()
        out.seek(0)
        err.seek(0)
        return Result(status, out.read().decode(), err.read().decode())


def moved(gateway: Gateway) -> None:
    gateway.script["POST", "/function/f"] = [Reply(308, b"", {"Location": "/function/f.openfaas-fn"})]


def guarded(gateway: Gateway) -> None:
    gateway.script["POST", "/function/f"] = [
        Reply(401, b"no", {"WWW-Authenticate": "Bearer realm=IAM function invoke"})
    ]
    gateway.script["POST", "/oauth/token"] = [Reply(200, b'{"access_token": "ft", "expires_in": 60}')]


def test_a_file_is_sent_again(both: tuple[Gateway, CommandLine]) -> None:
    """To where the answer redirects, and with a token once one is wanted."""
    gateway, line = both
    moved(gateway)
    assert line.run("invoke", "f", stdin=LARGE).out == "300000 bytes"
    guarded(gateway)
    assert line.run("invoke", "f", "--token", "t", stdin=LARGE).out == "300000 bytes"
    assert gateway.last("POST", "/function/f").headers["authorization"] == "Bearer ft"


def test_a_terminal_ends_the_body_once(both: tuple[Gateway, CommandLine]) -> None:
    """One Ctrl-D is enough."""
    _, line = both
    master, slave = pty.openpty()
    with file_with() as out, file_with() as err:
        line.zygote.start(
            ["invoke", "f"], environ=line.environ, cwd=line.folder, streams=(slave, out.fileno(), err.fileno())
        )
        os.close(slave)
        os.write(master, b"hi\n\x04")
        status = line.zygote.wait(30)
        os.close(master)
        out.seek(0)
        err.seek(0)
        assert (status, out.read()) == (0, b"3 bytes")
        assert b"hit (Control + D) to stop" in err.read()


def test_a_pipe_is_not(both: tuple[Gateway, CommandLine]) -> None:
    """The message says what helps: a file, or the token at once."""
    gateway, line = both
    moved(gateway)
    result = run_piped(line, "invoke", "f")
    assert result.status == 1
    assert "308" in result.err
    assert (
        "redirects to /function/f.openfaas-fn, and a body read from a pipe cannot be sent again; use a file"
        in result.err
    )
    guarded(gateway)
    result = run_piped(line, "invoke", "f", "--token", "t")
    assert result.status == 1
    assert "use --auth to get the token before the call" in result.err
    guarded(gateway)
    gateway.script["POST", "/function/f"] = []
    assert run_piped(line, "invoke", "f", "--auth", "--token", "t").out == "300000 bytes"
    assert gateway.last("POST", "/function/f").headers["authorization"] == "Bearer ft"
