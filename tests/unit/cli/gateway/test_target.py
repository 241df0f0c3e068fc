"""Which gateway, with which credentials."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilbert.cli.gateway import saved_credentials, target
from hilbert.client import running
from hilbert.client.auth import BasicAuth, TokenAuth
from hilbert.core.errors import Invalid


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "HILBERT_STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[str]:
    """Something that looks like a platform of this machine."""
    state = tmp_path / "state"
    (state / "auth").mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()", "hilbert.server"], stdin=subprocess.PIPE
    )
    document: dict[str, object] = {"url": "http://127.0.0.1:9", "pid": process.pid, "version": "1"}
    (state / "gateway.json").write_text(json.dumps(document))
    (state / "auth" / "basic-auth-user").write_text("admin\n")
    (state / "auth" / "basic-auth-password").write_text("local\n")
    gateway = running.read(state)
    assert gateway is not None
    while not running.is_alive(gateway):  # The kernel shows the words of a program a moment after it has begun.
        time.sleep(0.001)
    yield "http://127.0.0.1:9"
    process.communicate()


def test_the_order_of_gateways(environ: dict[str, str], platform: str) -> None:
    """Flag, stack file unless it is the default, environment, this machine's, default."""
    named = {**environ, "OPENFAAS_URL": "http://env:1/"}
    assert target.resolve("http://flag:1", stack="http://stack:1", environ=named).url == "http://flag:1"
    assert target.resolve("", stack="http://stack:1", environ=named).url == "http://stack:1"
    assert target.resolve("", stack="http://127.0.0.1:8080/", environ=named).url == "http://env:1"
    assert target.resolve("", stack="http://127.0.0.1:8080", environ=environ).url == platform
    nowhere = {**environ, "HILBERT_STATE_DIR": "/nonexistent"}
    assert target.resolve("", environ=nowhere) == target.Target("http://127.0.0.1:8080", "the default")
    with pytest.raises(Invalid):
        target.resolve("", environ={**environ, "OPENFAAS_URL": "ftp://x"})


def test_a_gateway_that_was_killed_is_not_chosen(environ: dict[str, str], tmp_path: Path) -> None:
    """Its file stayed behind, and its pid is another process by now."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "gateway.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "pid": os.getpid()}))
    gateway = running.find(environ)
    assert gateway is not None
    assert not running.is_alive(gateway)
    assert target.resolve("", environ=environ).source == "the default"


def test_a_broken_file_is_no_gateway(environ: dict[str, str], tmp_path: Path) -> None:
    """Half of a file, or of another version."""
    state = tmp_path / "state"
    state.mkdir()
    for text in ("", "{", "[]", '{"url": 1}'):
        (state / "gateway.json").write_text(text)
        assert running.find(environ) is None


def test_a_gateway_that_is_gone_gives_no_password(environ: dict[str, str], tmp_path: Path) -> None:
    """Whoever listens on its port now must not be told."""
    state = tmp_path / "state"
    (state / "auth").mkdir(parents=True)
    (state / "auth" / "basic-auth-user").write_text("admin")
    (state / "auth" / "basic-auth-password").write_text("local")
    (state / "gateway.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "pid": os.getpid()}))
    assert target.find_auth("http://127.0.0.1:9", token="", environ=environ) is None


def test_the_order_of_credentials(environ: dict[str, str], platform: str, tmp_path: Path) -> None:
    """Token, the local gateway's own, saved ones; another gateway never gets the local password."""
    config = saved_credentials.config_file(environ)
    assert target.find_auth(platform, token="", environ=environ) == BasicAuth("admin", "local")
    saved_credentials.save_basic(config, platform, user="old", password="stale")
    assert target.find_auth(platform, token="", environ=environ) == BasicAuth("admin", "local")
    assert target.find_auth(platform, token="t", environ=environ) == TokenAuth("t")
    assert target.find_auth("http://127.0.0.1:10", token="", environ=environ) is None
    saved_credentials.save_basic(config, "http://127.0.0.1:10", user="u", password="p")
    assert target.find_auth("http://127.0.0.1:10", token="", environ=environ) == BasicAuth("u", "p")
    (tmp_path / "state" / "gateway.json").unlink()
    assert target.find_auth(platform, token="", environ=environ) == BasicAuth("old", "stale")


def test_credentials_over_an_open_network_are_warned_about(capsys: pytest.CaptureFixture[str]) -> None:
    """Not to this machine, and not without credentials."""
    auth = BasicAuth("u", "p")
    for url, with_auth, warned in (
        ("http://example.com", auth, True),
        ("https://example.com", auth, False),
        ("http://127.0.0.1:8080", auth, False),
        ("http://example.com", None, False),
    ):
        target.client_for(url, with_auth).close()
        assert ("not encrypted" in capsys.readouterr().err) is warned, url


@pytest.mark.parametrize(
    ("environ", "traced"),
    [
        ({}, False),
        ({"FAAS_DEBUG": "1"}, True),
        ({"FAAS_DEBUG": "0"}, False),
        ({"OPENFAAS_DUMP_HTTP": "true"}, True),
        ({"OPENFAAS_DUMP_HTTP": "false"}, False),
    ],
)
def test_requests_are_shown_when_asked_for(environ: dict[str, str], traced: bool) -> None:
    """By either of the original's names."""
    assert (target.tracer(environ) is not None) is traced
