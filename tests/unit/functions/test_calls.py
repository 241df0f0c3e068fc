"""Every function that ships, called through a real watchdog."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import hilbert.functions
from hilbert.core.bundle import Manifest
from support.watchdog import Watchdog, until, watchdog

ROOT = Path(hilbert.functions.__file__).parent


@contextlib.contextmanager
def running(name: str, **env: str) -> Iterator[Watchdog]:
    """The bundle `name` as the process runtime runs it."""
    manifest = msgspec.json.decode((ROOT / name / "bundle.json").read_bytes(), type=Manifest)
    base = {"HILBERT_MODE": manifest.mode.value, "HILBERT_BUNDLE": str(ROOT / name), "fprocess": manifest.process}
    if manifest.handler:
        base["HILBERT_HANDLER"] = str(ROOT / name / manifest.handler)
    names = {"OPENFAAS_NAME": name, "OPENFAAS_NAMESPACE": "openfaas-fn"}
    with watchdog(**(base | names | dict(manifest.env) | env)) as made:
        yield made


def test_nodeinfo() -> None:
    """It names the host and the processors; `verbose` adds to it."""
    with running("nodeinfo", HOSTNAME="nodeinfo-7") as function:
        brief = function.call().text
        verbose = function.call("POST", body=b"verbose").text
    assert "Hostname: nodeinfo-7\n" in brief
    assert ("Arch: x64\n" in brief) == (os.uname().machine == "x86_64")
    assert f"CPUs: {len(os.sched_getaffinity(0))}\n" in brief
    assert "Function: nodeinfo.openfaas-fn\n" not in brief
    assert "Function: nodeinfo.openfaas-fn\n" in verbose


@pytest.mark.parametrize(("name", "word"), [("env", "Http_X_Thing=3"), ("shasum", "fb65ea9e8d84")])
def test_commands_of_this_machine(name: str, word: str) -> None:
    """The request is in the environment and on standard input."""
    with running(name) as function:
        assert word in function.call("POST", body=b"one\ntwo", headers={"X-Thing": "3"}).text


def test_figlet() -> None:
    """Large letters, in the font asked for; refusals say why."""
    with running("figlet", fprocess="figlet") as function:
        standard = function.call("POST", body=b"Hi\n")
        slant = function.call("POST", "/?font=slant", body=b"Hi")
        unknown = function.call("POST", "/?font=none", body=b"Hi")
        long = function.call("POST", body=b"x" * 3000)
    assert standard.status == 200
    assert "|_| |_|_|" in standard.text
    assert slant.text != standard.text
    assert (unknown.status, unknown.text) == (400, "There is no font 'none'.\n")
    assert long.status == 413


def test_alpine_runs_what_fprocess_says() -> None:
    """The demonstration's hash equals that of the same bytes computed here."""
    data = os.urandom(100)
    with running("alpine", fprocess="sha512sum") as function:
        answer = function.call("POST", body=data)
    assert answer.text == f"{hashlib.sha512(data).hexdigest()}  -\n"


def test_alpine_is_cat_by_default() -> None:
    """Without fprocess the body comes back."""
    with running("alpine") as function:
        assert function.call("POST", body=b"meow").body == b"meow"


def test_alpine_as_env_shows_the_request() -> None:
    """The store's `env` function: the environment with the call's headers."""
    with running("alpine", fprocess="env") as function:
        lines = function.call("GET", "/a?b=c", headers={"X-Call-Id": "1"}).text.splitlines()
    assert {"Http_X_Call_Id=1", "Http_Path=/a", "Http_Query=b=c", "Http_Method=GET"} <= set(lines)
    assert not [line for line in lines if line.startswith("HILBERT_")]


def test_sleep() -> None:
    """The header wins over the environment; nonsense is refused."""
    with running("sleep", sleep_duration="1ms") as function:
        assert function.call().text == "Slept for 1ms\n"
        assert function.call(headers={"X-Sleep-Duration": "0.002s"}).text == "Slept for 0.002s\n"
        assert function.call(headers={"X-Sleep-Duration": "soon"}).status == 400


def test_echo() -> None:
    """Bytes and their type come back."""
    data = bytes(range(256))
    with running("echo") as function:
        answer = function.call("POST", body=data, headers={"Content-Type": "image/x-test"})
    assert (answer.body, answer.headers["Content-Type"]) == (data, "image/x-test")


def test_printer() -> None:
    """Head and body are in the log."""
    with running("printer") as function:
        answer = function.call("POST", "/p?q=1", body=b"one\ntwo", headers={"X-Thing": "3"})
        assert (answer.status, answer.text) == (202, "")
        until(lambda: "two" in function.texts, what="the body in the log")
        assert {"POST /p", "q=1", "X-Thing: 3", "one"} <= set(function.texts)


def test_cows() -> None:
    """A cow that says the text, or moos when there is none."""
    with running("cows") as function:
        for _ in range(8):
            answer = function.call("POST", body=b"hello there")
            assert "( hello there )" in answer.text
            assert answer.text.count("\n") > 6
        assert "( m" in function.call().text.lower()


def test_qrcode() -> None:
    """A PNG whose size follows the scale; refusals say why."""
    with running("qrcode") as function:
        small = function.call("POST", "/?scale=1", body=b"https://example.com")
        large = function.call("POST", "/?scale=10", body=b"https://example.com")
        empty = function.call("POST")
        long = function.call("POST", body=b"x" * 5000)
        odd = function.call("POST", "/?scale=99", body=b"x")
    assert small.headers["Content-Type"] == "image/png"
    width, height = struct.unpack(">II", small.body[16:24])
    assert small.body.startswith(b"\x89PNG")
    assert struct.unpack(">II", large.body[16:24]) == (width * 10, height * 10)
    assert [empty.status, long.status, odd.status] == [400, 400, 400]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# A\n\n*b* ~~c~~", "<h1>A</h1>\n<p><em>b</em> <s>c</s></p>\n"),
        ("<script>x</script>", "<p>&lt;script&gt;x&lt;/script&gt;</p>\n"),
        ("|a|\n|-|\n|b|", "<table>"),
    ],
)
def test_markdown(text: str, html: str) -> None:
    """CommonMark and tables; HTML is not passed on."""
    with running("markdown") as function:
        answer = function.call("POST", body=text.encode())
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.text.startswith(html)


def test_nslookup() -> None:
    """This machine's own name resolves; nonsense does not."""
    with running("nslookup") as function:
        assert "Address: 127.0.0.1\n" in function.call("POST", body=b"localhost\n").text
        assert function.call("POST", body=b"one two").status == 400
        assert function.call("POST", body=b"a..b").status == 404
