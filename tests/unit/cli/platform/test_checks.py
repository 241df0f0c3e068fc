"""What `doctor` finds: each thing that can be wrong is named, with what to do."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from hilbert.cli.gateway.target import Target
from hilbert.cli.platform.checks import check_function, check_gateway, check_machine, check_namespace
from hilbert.cli.platform.finding import Finding, Level
from hilbert.cli.platform.sign_in import sign_in_findings
from hilbert.client import BasicAuth, Client
from hilbert.runtimes.network.survey import Abilities
from support.cli import PASSWORD, USER, Gateway, Reply


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    found = Gateway().start()
    found.add("f")
    found.logs = [
        {"name": "f", "instance": "f-1", "timestamp": f"2024-05-06T07:08:0{n}Z", "text": f"line {n}\n"}
        for n in range(9)
    ]
    yield found
    found.close()


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Client]:
    with Client(gateway.url, auth=BasicAuth(USER, PASSWORD), timeout=5) as made:
        yield made


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "HOME": str(tmp_path),
        "HILBERT_STATE_DIR": str(tmp_path / "s"),
        "HILBERT_GATEWAY__PORT": "0",
        "HILBERT_GATEWAY__METRICS_PORT": "0",
    }


def broken(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level is not Level.OK]


def test_a_port_that_is_taken(environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (found,) = broken(check_machine({**environ, "HILBERT_GATEWAY__PORT": str(port)}))
    assert found.level is Level.BROKEN
    assert f":{port} is not available" in found.what
    assert "--set gateway.port=0" in found.todo


@pytest.mark.parametrize(("free", "level"), [(10 * 1024**2, Level.BROKEN), (512 * 1024**2, Level.WARNING)])
def test_a_disk_that_is_full(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    (found,) = broken(check_machine(environ))
    assert found.level is level
    assert "GiB free" in found.what
    assert "free some space" in found.todo


def test_a_folder_open_to_others(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o755)
    (found,) = broken(check_machine(environ))
    assert "other users can read" in found.what
    assert found.todo == f"chmod 700 {tmp_path / 's'}"


def test_no_sandbox_tool(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning, unless it is asked for by name."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (found,) = broken(check_machine(environ))
    assert found.level is Level.WARNING
    assert "apt-get install bubblewrap" in found.todo
    (found,) = broken(check_machine({**environ, "HILBERT_PROCESS__SANDBOX": "bubblewrap"}))
    assert found.level is Level.BROKEN


def test_settings_that_are_wrong(environ: dict[str, str]) -> None:
    (found,) = broken(check_machine({**environ, "HILBERT_GATEWAY__PORT": "many"}))
    assert "the settings are not valid" in found.what


@pytest.mark.parametrize(
    ("reason", "message", "todo"),
    [
        (
            "ImageUnavailable",
            "the image cannot be pulled: 401 Unauthorized",
            "a private registry needs its credentials",
        ),
        ("ImageUnavailable", "image x was not built on this machine", "build it here"),
        ("ProbeFailing", "a replica did not answer 3 health requests in a row", "check that it listens"),
        ("QuotaExceeded", "the namespace's quota has no room", "ask for a larger quota"),
        ("CrashLoop", "a replica exited with status 7", "its last log lines say why"),
        ("OOMKilled", "a replica ran out of memory and was killed", "--memory-limit"),
        ("OutOfMemory", "the function was killed", "--memory-limit"),
        ("Unschedulable", "no node takes the Pod", "no node has room"),
        ("PodSecurity", "the namespace's Pod Security level forbids the Pod", "Pod Security"),
        ("LimitExceeded", "the namespace's limits forbid the Pod", "that the namespace allows"),
        ("StartFailed", "a replica could not be started", "names the cause"),
        ("TooSlow", "the new version did not become ready in time", "listens in time"),
        ("SomethingNew", "nobody knows it yet", "see its log"),
    ],
)
def test_a_function_that_does_not_work(gateway: Gateway, client: Client, reason: str, message: str, todo: str) -> None:
    """State, reason, remedy, and the last lines that it wrote."""
    gateway.failure = (reason, message)
    found, log = broken(check_function(client, "f", ""))
    assert found.level is Level.BROKEN
    assert found.what == f"f is failed, 0 of 1 replica ready: {reason}: {message}"
    assert todo in found.todo
    assert log.evidence == tuple(f"line {n}" for n in range(9))


def test_a_namespace(gateway: Gateway, client: Client) -> None:
    """Every function in a line; one that is not there brings those that are."""
    assert [finding.level for finding in check_namespace(client, "openfaas-fn")] == [Level.OK, Level.OK]
    (found,) = check_namespace(client, "nowhere")
    assert found.level is Level.BROKEN
    assert "hilbert namespace create nowhere" in found.todo


def test_a_gateway_that_is_not_there_or_refuses(gateway: Gateway) -> None:
    target = Target(gateway.url, "--gateway")
    with Client(gateway.url, auth=BasicAuth(USER, "wrong")) as client:
        reached, found = check_gateway(client, target)
        assert not reached
        assert "hilbert login" in found[0].todo
    with Client("http://127.0.0.1:1") as client:
        reached, found = check_gateway(client, target)
        assert not reached
        assert "hilbert up --detach" in found[0].todo


def test_a_gateway_with_a_weak_sandbox(gateway: Gateway, client: Client) -> None:
    """Why no stronger one is used is the evidence."""
    facts = '"hilbert": {"sandbox": "process", "sandbox.not-bubblewrap": "bwrap is not installed", "cpu-limit": "none"}'
    gateway.script["GET", "/system/info"] = [
        Reply(200, f'{{"provider": {{}}, "version": {{}}, {facts}}}'.encode(), {"Content-Type": "application/json"})
    ]
    reached, findings = check_gateway(client, Target(gateway.url, "--gateway"))
    assert reached
    sandbox, limit = broken(findings)
    assert "functions can read everything this user can read" in sandbox.what
    assert sandbox.evidence == ("bubblewrap: bwrap is not installed",)
    assert limit.what == "cpu-limit: enforced by none"


@pytest.mark.parametrize(
    ("abilities", "level", "what", "todo"),
    [
        (Abilities(own=True, uplink="veth"), Level.OK, "out by address translation", ""),
        (
            Abilities(failures={"own": "nft is not installed"}),
            Level.WARNING,
            "share this machine's network",
            "nftables",
        ),
        (
            Abilities(own=True, failures={"pasta": "is /dev/net/tun open to this user?"}),
            Level.WARNING,
            "leads to the gateway and nowhere else",
            "let this user open /dev/net/tun",
        ),
    ],
)
def test_a_gateways_networks(
    gateway: Gateway, client: Client, abilities: Abilities, level: Level, what: str, todo: str
) -> None:
    body = {"provider": {}, "version": {}, "hilbert": abilities.facts()}
    gateway.script["GET", "/system/info"] = [
        Reply(200, msgspec.json.encode(body), {"Content-Type": "application/json"})
    ]
    _, findings = check_gateway(client, Target(gateway.url, "--gateway"))
    (found,) = [finding for finding in findings if finding.what.startswith("network: ")]
    assert found.level is level
    assert what in found.what
    assert todo in found.todo
    assert found.evidence == tuple(f"{name}: {why}" for name, why in sorted(abilities.failures.items()))


@pytest.mark.parametrize(
    ("facts", "levels", "words"),
    [
        ({"sign-in.password": "none"}, [Level.WARNING], "asks for no password"),
        ({"sign-in.password": "on", "sign-in.endless-tokens": "0"}, [Level.WARNING], "password is in use"),
        ({"sign-in.password": "off", "sign-in.endless-tokens": "1"}, [Level.OK, Level.WARNING], "1 token will never"),
        ({"sign-in.password": "off", "sign-in.endless-tokens": "2"}, [Level.OK, Level.WARNING], "2 tokens will never"),
        ({"sign-in.public-url": "not set"}, [Level.WARNING], "address that the gateway listens on"),
        ({"sign-in.role.ci": "every repository on GitHub can have it"}, [Level.WARNING], "the role ci is open"),
        ({"sign-in.issuer.idp": "it is down"}, [Level.WARNING], "keys of the issuer idp cannot be fetched: it is down"),
        ({}, [], ""),
    ],
)
def test_weak_ways_in_are_named(facts: dict[str, str], levels: list[Level], words: str) -> None:
    found = list(sign_in_findings(facts))
    assert [finding.level for finding in found] == levels
    assert words in " ".join(finding.what for finding in found)
    assert all(finding.todo for finding in found if finding.level is not Level.OK)


@pytest.mark.parametrize(
    ("version", "fault"), [((3, 40, 1), True), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 53, 0), False)]
)
def test_versions_of_sqlite_with_a_fault_are_named(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], fault: bool
) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", version)
    monkeypatch.setattr("sqlite3.sqlite_version", ".".join(map(str, version)))
    (found,) = [finding for finding in check_machine(environ) if finding.what.startswith("SQLite")]
    assert found.what.startswith(f"SQLite {'.'.join(map(str, version))}")
    assert ("WAL-reset" in found.what) is fault
