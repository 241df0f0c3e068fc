"""Deploying and waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from hilbert.cli.frame.failures import Failed
from hilbert.cli.function import rollout
from hilbert.cli.function.rollout import Outcome, Rollout, is_idle, is_ready, report, roll_out
from hilbert.client import BasicAuth, Client, Deployment, Function, FunctionDetail
from hilbert.core.errors import Unauthenticated
from support.cli import PASSWORD, USER, Gateway, Reply


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    found = Gateway().start()
    yield found
    found.close()


def client_of(gateway: Gateway) -> Client:
    return Client(gateway.url, auth=BasicAuth(USER, PASSWORD), timeout=10)


def deploy(gateway: Gateway, how: Rollout, *names: str) -> list[Outcome]:
    deployments = [Deployment(service=name, image="i") for name in names or ("f",)]
    return roll_out(lambda: client_of(gateway), deployments, how, quiet=True)


def test_it_waits_until_the_new_generation_is_ready(gateway: Gateway) -> None:
    """An old replica that still answers does not count."""
    gateway.polls_until_ready = 3
    (outcome,) = deploy(gateway, Rollout())
    assert (outcome.ready, outcome.created, outcome.status, outcome.error) == (True, True, 202, "")
    assert len([call for call in gateway.calls if call.path == "/system/function/f"]) == 4


def test_without_waiting_it_asks_nothing(gateway: Gateway) -> None:
    """The old behaviour."""
    (outcome,) = deploy(gateway, Rollout(wait=False))
    assert (outcome.ready, outcome.error) == (False, "")
    assert [call.method for call in gateway.calls] == ["PUT", "POST"]


def test_a_function_that_never_comes_up_is_given_up(gateway: Gateway) -> None:
    """After the time that was given, with what is known."""
    gateway.polls_until_ready = 10_000
    (outcome,) = deploy(gateway, Rollout(ready_within=0.2))
    assert outcome.error == "function f is not ready (0 of 1 replica ready)"
    assert "hilbert doctor f" in outcome.hint


def test_deployed_is_said_once_it_is_true(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """A function that never becomes ready was accepted, but a reader would take that for success."""
    gateway.polls_until_ready = 1_000_000
    deployment = Deployment(service="f", image="i")
    (outcome,) = roll_out(lambda: client_of(gateway), [deployment], Rollout(ready_within=0.2))
    assert outcome.error
    assert "Deployed" not in capsys.readouterr().out
    gateway.polls_until_ready = 0
    roll_out(lambda: client_of(gateway), [deployment], Rollout())
    assert "Deployed. 202 Accepted." in capsys.readouterr().out


def test_a_function_that_fails_says_why(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the time is over."""
    monkeypatch.setattr(rollout, "_FAILED_FOR", 0.05)
    gateway.failure = ("CrashLoop", "exit status 1")
    (outcome,) = deploy(gateway, Rollout(ready_within=60))
    assert outcome.error == "function f is not ready: CrashLoop: exit status 1"


def test_a_failure_that_was_the_old_one_s_is_outlived(gateway: Gateway) -> None:
    """The state just before the deployment may still be shown for a moment."""
    gateway.failure = ("CrashLoop", "old")
    answer = gateway._function

    def recover(call: object) -> Reply:
        seen = answer(call)  # type: ignore[arg-type]  # a Call
        gateway.failure = None
        return seen

    gateway._function = recover  # type: ignore[method-assign]  # fails once
    (outcome,) = deploy(gateway, Rollout())
    assert (outcome.ready, outcome.error) == (True, "")


def test_a_gateway_that_restarts_meanwhile_is_waited_for(gateway: Gateway) -> None:
    """The function does not mind either."""
    gateway.script["GET", "/system/function/f"] = [Reply(503, b"starting"), Reply(503, b"starting")]
    (outcome,) = deploy(gateway, Rollout())
    assert (outcome.ready, outcome.error) == (True, "")


def test_a_gateway_that_stays_away_is_not(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it said last."""
    monkeypatch.setattr(rollout, "_LOST_FOR", 0.1)
    gateway.script["GET", "/system/function/f"] = [Reply(503, b"no database") for _ in range(1000)]
    (outcome,) = deploy(gateway, Rollout())
    assert (outcome.ready, outcome.error) == (False, "no database")


def test_replacing_waits_until_the_old_one_is_gone(gateway: Gateway) -> None:
    """A gateway removes in the background."""
    gateway.script["POST", "/system/functions"] = [Reply(500, b"deployments.apps already exists")] * 2
    gateway.add("f")
    (outcome,) = deploy(gateway, Rollout(replace=True, update=False))
    assert (outcome.ready, outcome.created) == (True, True)


def test_one_that_is_removed_meanwhile(gateway: Gateway) -> None:
    """Somebody else was there."""
    gateway.script["GET", "/system/function/f"] = [Reply(404)]
    (outcome,) = deploy(gateway, Rollout())
    assert "was removed before" in outcome.error


def test_several_at_once_within_the_bound(gateway: Gateway) -> None:
    """Never more than asked for, and every outcome in its place."""
    most, now, lock = 0, 0, threading.Lock()

    def counted() -> Client:
        nonlocal most, now
        client = client_of(gateway)
        close = client.close
        with lock:
            now += 1
            most = max(most, now)

        def closing() -> None:
            nonlocal now
            with lock:
                now -= 1
            close()

        client.close = closing  # type: ignore[method-assign]  # counts
        return client

    names = [f"f{n}" for n in range(12)]
    found = roll_out(counted, [Deployment(service=name, image="i") for name in names], Rollout(parallel=3), quiet=True)
    assert [outcome.name for outcome in found] == names
    assert all(outcome.ready for outcome in found)
    assert 1 <= most <= 3


def test_wrong_credentials_end_everything(gateway: Gateway) -> None:
    """They hold for all."""
    gateway.password = "other"
    with pytest.raises(Unauthenticated):
        deploy(gateway, Rollout(), "a", "b", "c")


def test_some_may_fail(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is named, and the command fails."""
    gateway.script["PUT", "/system/functions"] = [Reply(400, b"bad image")]
    outcomes = deploy(gateway, Rollout(parallel=1), "a", "b")
    with pytest.raises(Failed, match="1 of 2 functions failed to deploy"):
        report(outcomes)
    assert capsys.readouterr().err == "error: a: bad image\n"


def test_an_update_that_fails_behind_the_old_version_is_given_up(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no reason to wait that the old one still answers."""
    monkeypatch.setattr(rollout, "_FAILED_FOR", 0.05)
    gateway.add("f")
    detail = b'{"phase": "updating", "reason": "CrashLoop", "message": "exit 1", "generation": 2, "readyGeneration": 1}'
    gateway.script["GET", "/system/function/f"] = [
        Reply(200, b'{"name": "f", "availableReplicas": 1, "hilbert": ' + detail + b"}") for _ in range(100)
    ]
    (outcome,) = deploy(gateway, Rollout(ready_within=60))
    assert outcome.error == "function f is not ready: CrashLoop: exit 1; the previous version keeps serving"


@pytest.mark.parametrize(
    ("detail", "available", "ready", "idle"),
    [
        (None, 1, True, False),
        (None, 0, False, False),
        (FunctionDetail(phase="ready", generation=2, ready_generation=2), 1, True, False),
        (FunctionDetail(phase="updating", generation=3, ready_generation=2), 1, False, False),
        (FunctionDetail(phase="starting", generation=1), 0, False, False),
        (FunctionDetail(phase="idle", generation=2, ready_generation=2), 0, False, True),
    ],
)
def test_what_ready_means(detail: FunctionDetail | None, available: int, ready: bool, idle: bool) -> None:
    """Of the newest generation where the gateway says so, of any where it does not."""
    function = Function(name="f", available_replicas=available, hilbert=detail)
    assert (is_ready(function), is_idle(function)) == (ready, idle)


@pytest.mark.parametrize(
    ("namespace", "secrets", "hint"),
    [
        ("nowhere", (), "create the namespace first: hilbert namespace create nowhere"),
        ("dev", ("there", "key"), "create the secret first: hilbert secret create key -n dev < FILE"),
        ("", ("key",), "create the secret first: hilbert secret create key < FILE"),
        ("dev", ("there",), ""),
    ],
)
def test_a_refusal_says_what_to_create(gateway: Gateway, namespace: str, secrets: tuple[str, ...], hint: str) -> None:
    """A command that can be pasted, if a namespace or a secret is missing; else nothing is guessed."""
    gateway.namespaces["dev"] = {"name": "dev"}
    gateway.secrets["dev", "there"] = b"x"
    gateway.script["PUT", "/system/functions"] = [Reply(400, b"refused")]
    deployment = Deployment(service="f", image="i", namespace=namespace, secrets=secrets)
    (outcome,) = roll_out(lambda: client_of(gateway), [deployment], Rollout(), quiet=True)
    assert (outcome.error != "", outcome.hint) == (True, hint)
