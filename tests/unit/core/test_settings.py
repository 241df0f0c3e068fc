"""Settings: which source wins, what is refused, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilbert.core.errors import InvalidSettings
from hilbert.core.settings import ALIASES, Settings, known_settings, load
from hilbert.core.values import Duration, Quantity

ENV = {"HOME": "/nonexistent"}


def test_defaults(tmp_path: Path) -> None:
    loaded = load(environ={**ENV, "HILBERT_STATE_DIR": str(tmp_path)})
    assert loaded.settings.gateway == Settings().gateway
    assert loaded.settings.paths.state_dir == str(tmp_path)
    assert loaded.origins == {"paths.state_dir": "environment (HILBERT_STATE_DIR)"}


def test_flags_win_over_environment_over_aliases_over_file(tmp_path: Path) -> None:
    file = tmp_path / "hilbert.toml"
    file.write_text('[gateway]\nport = 1001\nhost = "0.0.0.0"\nworkers = 3\naccess_log = true\n')
    loaded = load(
        file=file,
        environ={**ENV, "port": "1002", "HILBERT_GATEWAY__PORT": "1003", "HILBERT_GATEWAY__WORKERS": "4"},
        flags={"gateway.port": 1004, "gateway.host": None},
    )
    gateway = loaded.settings.gateway
    assert (gateway.port, gateway.host, gateway.workers, gateway.access_log) == (1004, "0.0.0.0", 4, True)
    assert loaded.origins["gateway.port"] == "flag"
    assert loaded.origins["gateway.host"] == str(file)
    assert loaded.origins["gateway.workers"] == "environment (HILBERT_GATEWAY__WORKERS)"
    assert load(file=file, environ={**ENV, "port": "1002"}).settings.gateway.port == 1002


def test_the_file_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "hilbert"
    folder.mkdir()
    (folder / "hilbert.toml").write_text("[gateway]\nport = 1234\n")
    assert load(environ={**ENV, "XDG_CONFIG_HOME": str(tmp_path)}).settings.gateway.port == 1234
    other = tmp_path / "other.toml"
    other.write_text("[gateway]\nport = 4321\n")
    environ = {**ENV, "XDG_CONFIG_HOME": str(tmp_path), "HILBERT_CONFIG": str(other)}
    assert load(environ=environ).settings.gateway.port == 4321


@pytest.mark.parametrize(("name", "key"), ALIASES.items())
def test_every_alias_stands_for_a_setting(name: str, key: str) -> None:
    assert key in known_settings()


@pytest.mark.parametrize(("text", "seconds"), [("60", 60), ("1m30s", 90), ("250ms", 0.25), ("0", 0)])
def test_openfaas_times_are_seconds_or_durations(text: str, seconds: float) -> None:
    assert load(environ={**ENV, "upstream_timeout": text}).settings.gateway.first_byte_timeout == Duration.of(seconds)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("ON", True), ("false", False), ("0", False)])
def test_truths(text: str, value: bool) -> None:
    assert load(environ={**ENV, "basic_auth": text}).settings.gateway.basic_auth is value


def test_a_value_of_each_kind() -> None:
    flags = {"gateway.max_body": "2Gi", "provider.name": "memory", "gateway.read_timeout": Duration.of(1)}
    settings = load(environ=ENV, flags=flags).settings
    assert settings.gateway.max_body == Quantity.parse("2Gi")
    assert settings.provider.name == "memory"
    assert settings.gateway.read_timeout == Duration.of(1)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"HILBERT_GATEWAY__PROT": "1"}, "unknown setting gateway.prot"),
        ({"HILBERT_NOWHERE__X": "1"}, "unknown setting nowhere.x"),
        ({"port": "http"}, "gateway.port: (http) is not a whole number (from environment (port))"),
        ({"port": "70000"}, "gateway.port: must be from 0 to 65535"),
        ({"HILBERT_GATEWAY__METRICS_PORT": "-1"}, "gateway.metrics_port"),
        ({"port": "8082"}, "gateway.metrics_port: must differ"),
        ({"basic_auth": "maybe"}, "gateway.basic_auth: (maybe) is neither true nor false"),
        ({"read_timeout": "soon"}, "gateway.read_timeout: (soon) is not a duration"),
        ({"HILBERT_GATEWAY__MAX_BODY": "lots"}, "gateway.max_body: (lots) is not a quantity"),
        ({"HILBERT_PROVIDER__NAME": "podman"}, "provider.name: must be one of"),
        ({"function_namespace": "Not Valid"}, "provider.default_namespace: "),
        ({"HILBERT_GATEWAY__MAX_CONNECTIONS": "0"}, "gateway.max_connections: must be at least 1"),
        ({"HILBERT_CONFIG": "/nonexistent/hilbert.toml"}, "cannot read /nonexistent/hilbert.toml"),
    ],
)
def test_what_is_refused(environ: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(environ={**ENV, **environ})
    assert said in caught.value.message


def test_a_near_miss_has_a_hint() -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(environ={**ENV, "HILBERT_GATEWAY__PROT": "1"})
    assert caught.value.hint == "did you mean gateway.port?"


@pytest.mark.parametrize("text", ["port = 1\n", "[gateway\n", "[gateway]\nport = \n", "\xff", "[nowhere]\nx = 1\n"])
def test_files_that_are_wrong(tmp_path: Path, text: str) -> None:
    file = tmp_path / "hilbert.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidSettings) as caught:
        load(file=file, environ=ENV)
    assert str(file) in caught.value.message


def test_empty_aliases_are_absent() -> None:
    assert load(environ={**ENV, "port": "", "HILBERT_STATE_DIR": ""}).settings.gateway.port == 8080


def test_each_state_folder_has_sockets_of_its_own(tmp_path: Path) -> None:
    one = load(environ={**ENV, "HILBERT_STATE_DIR": "/x/one"}).settings.paths
    two = load(environ={**ENV, "HILBERT_STATE_DIR": "/x/two"}).settings.paths
    assert one.run_dir != two.run_dir
    assert one == load(environ={**ENV, "HILBERT_STATE_DIR": "/x/one"}).settings.paths
    assert len(f"{one.run_dir}/r/{'x' * 40}/s") < 107
