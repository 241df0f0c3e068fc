"""`namespace delete` where the cluster takes longer than the gateway waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hilbert.cli.frame import run
from hilbert.cli.namespace import commands
from support.cli import Gateway, Reply

PATH = "/system/namespace/dev"
LEFT = Reply(
    409,
    b'{"error":{"code":"conflict","message":"namespace dev is still being deleted: 1 Pod is left","hint":"to wait: --wait"}}',
    {"Content-Type": "application/json"},
)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway().start()
    made.password = None
    made.namespaces["dev"] = {"name": "dev"}
    for name, value in (("OPENFAAS_URL", made.url), ("HOME", str(tmp_path)), ("HILBERT_STATE_DIR", str(tmp_path))):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(commands, "_AGAIN", 0.0)
    yield made
    made.close()


def looks(gateway: Gateway) -> int:
    found = [call for call in gateway.calls if (call.method, call.path) == ("GET", PATH)]
    assert all(call.query == {"deleting": "true"} for call in found)
    return len(found)


def deletions(gateway: Gateway) -> int:
    return sum(call.method == "DELETE" for call in gateway.calls)


def test_what_is_left_is_said(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """The deletion was accepted, but nothing is called removed."""
    gateway.script["GET", PATH] = [LEFT]
    assert run.run(["namespace", "delete", "dev", "--yes"]) == 1
    said = capsys.readouterr()
    assert "still being deleted: 1 Pod is left" in said.err
    assert "Removed" not in said.out


def test_wait_looks_until_it_is_gone(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """One deletion, however long it lasts: a namesake that somebody makes meanwhile is not touched."""
    gateway.script["GET", PATH] = [LEFT, LEFT]
    assert run.run(["namespace", "delete", "dev", "--yes", "--wait"]) == 0
    assert "Namespace Removed: dev" in capsys.readouterr().out
    assert (deletions(gateway), looks(gateway)) == (1, 3)


def test_waiting_for_a_deletion_that_goes_on_already(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """As the hint says; the gateway does not know the namespace any more."""
    del gateway.namespaces["dev"]
    gateway.script["GET", PATH] = [LEFT, LEFT]
    assert run.run(["namespace", "delete", "dev", "--yes", "--wait"]) == 0
    assert "Namespace Removed: dev" in capsys.readouterr().out


def test_one_that_does_not_exist(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """Is not called removed."""
    assert run.run(["namespace", "delete", "other", "--yes", "--wait"]) == 1
    assert "Removed" not in capsys.readouterr().out
