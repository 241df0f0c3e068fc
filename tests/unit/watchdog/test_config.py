"""The watchdog's configuration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.core.bundle import Mode
from hilbert.core.errors import Invalid
from hilbert.core.values import Duration
from hilbert.watchdog.config import MODES, ConfigError, function_environment, parse_seconds, read_config, split_command


def test_the_modes_are_those_of_bundles() -> None:
    """The watchdog spells them again, since the import of `core.bundle` costs a start too much."""
    assert set(MODES) == {mode.value for mode in Mode}


def test_defaults_are_of_watchdogs() -> None:
    """With nothing but a process."""
    config = read_config({"fprocess": "cat"})
    assert (config.mode, config.command, config.port) == ("streaming", ("cat",), 8080)
    assert (config.read_timeout, config.write_timeout, config.exec_timeout) == (30, 30, 30)
    assert (config.drain_delay, config.max_inflight, config.listen_fd) == (30, 0, -1)
    assert (config.prefix_logs, config.log_line, config.combine_output) == (True, 65536, True)
    assert config.static_path == "/home/app/public"
    assert config.notes == ()


def test_names_of_openfaas() -> None:
    """Each is understood; of two spellings the documented one wins."""
    config = read_config(
        {
            "fprocess": "cat",
            "function_process": "tac -s x",
            "mode": "http",
            "upstream_url": "http://a:1",
            "http_upstream_url": "http://b:2",
            "port": "81",
            "read_timeout": "5",
            "write_timeout": "1m",
            "exec_timeout": "250ms",
            "healthcheck_interval": "3s",
            "max_inflight": "7",
            "http_buffer_req_body": "1",
            "log_call_id": "True",
            "log_buffer_size": "-1",
            "prefix_logs": "false",
        }
    )
    assert config.command == ("tac", "-s", "x")
    assert (config.mode, config.upstream, config.port) == ("http", "http://b:2", 81)
    assert (config.read_timeout, config.write_timeout, config.exec_timeout, config.drain_delay) == (5, 60, 0.25, 3)
    assert (config.max_inflight, config.buffer_body, config.log_call_id) == (7, True, True)
    assert (config.log_line, config.prefix_logs) == (1024 * 1024, False)


def test_the_runtimes_mode_wins() -> None:
    """`HILBERT_MODE` over `mode`."""
    assert read_config({"HILBERT_MODE": "classic", "mode": "streaming", "fprocess": "cat"}).mode == "classic"


def test_the_drain_delay_follows_write_timeout() -> None:
    """As `healthcheck_interval` does in OpenFaaS when it is not given."""
    assert read_config({"fprocess": "cat", "write_timeout": "7s"}).drain_delay == 7


@pytest.mark.parametrize(
    ("env", "note"),
    [
        ({"exec_timeout": "-1s"}, "exec_timeout='-1s' is not a duration"),
        ({"write_timeout": "0"}, "write_timeout must be more than 0"),
        ({"port": "http"}, "port='http' is not a whole number; 8080 is used"),
    ],
)
def test_what_is_unparsable_is_noted(env: dict[str, str], note: str) -> None:
    """And the default is used."""
    config = read_config({"fprocess": "cat"} | env)
    (said,) = config.notes
    assert said.startswith(note)
    assert (config.exec_timeout, config.write_timeout, config.port) == (30, 30, 8080)


@pytest.mark.parametrize("text", ["0:0", "1000:0", "0:5", "a:b", "1", "-1:5", "1:2:3"])
def test_users_that_are_refused(text: str) -> None:
    """Root, and what is no pair of numbers."""
    with pytest.raises(ConfigError, match="UID:GID"):
        read_config({"fprocess": "cat", "HILBERT_SETUID": text})


def test_the_functions_environment(tmp_path: Path) -> None:
    """Private names go, layers come first in the paths that they have something for."""
    one, two = tmp_path / "1", tmp_path / "2"
    (one / "bin").mkdir(parents=True)
    (two / "node_modules").mkdir(parents=True)
    given = {"HILBERT_MODE": "x", "HILBERT_SECRETS_DIR": "/s", "A": "1", "PATH": "/usr/bin"}
    assert function_environment(given, (str(one), str(two), str(tmp_path / "none"))) == {
        "HILBERT_SECRETS_DIR": "/s",
        "A": "1",
        "PATH": f"{one}/bin:/usr/bin",
        "NODE_PATH": f"{two}/node_modules",
        "PYTHONPATH": f"{one}:{two}",
    }


def test_a_layer_does_not_hide_the_machines_commands(tmp_path: Path) -> None:
    """Where no `PATH` is given, the default one still follows."""
    (tmp_path / "bin").mkdir()
    assert function_environment({}, (str(tmp_path),))["PATH"] == f"{tmp_path}/bin:{os.defpath}"


def test_commands_are_split_as_a_shell_does() -> None:
    """Quotes and escapes; comments and operators are words."""
    assert split_command("""a 'b c' "d'e" f\\ g # ; | $x""") == ("a", "b c", "d'e", "f g", "#", ";", "|", "$x")


@given(st.integers(0, 2**62).map(Duration))
def test_durations_read_as_core_prints_them(duration: Duration) -> None:
    """Whatever `core.values` prints is read here as the same length, to a nanosecond in a billion."""
    assert parse_seconds(str(duration)) == pytest.approx(duration.seconds, rel=1e-9)


@given(st.text("0123456789.hmsnuµ -+e", max_size=12))
def test_durations_agree_with_core(text: str) -> None:
    """What one parser refuses, the other refuses; what both take is the same. It exists for its import time alone."""
    try:
        expected: float | None = Duration.parse(text, bare_seconds=True).seconds
    except Invalid as error:
        if "too long" in error.message:
            return
        expected = None
    found = parse_seconds(text)
    assert (found is None) == (expected is None), text
    assert expected is None or found == pytest.approx(expected, rel=1e-9, abs=1e-9)
