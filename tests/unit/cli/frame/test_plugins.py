"""Executables in `~/.openfaas/plugins` as commands."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hilbert.cli.frame.plugins import find_plugin
from support.platform import HILBERT


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".openfaas" / "plugins").mkdir(parents=True)
    return tmp_path


def add(home: Path, name: str, text: str = "#!/bin/sh\nexit 0\n", *, mode: int = 0o755) -> Path:
    path = home / ".openfaas" / "plugins" / name
    path.write_text(text)
    path.chmod(mode)
    return path


def hilbert(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {"HOME": str(home), "PATH": "/usr/bin:/bin", "MARK": "seen"}
    return subprocess.run([HILBERT, *words], env=environ, capture_output=True, text=True, timeout=30, check=False)


def test_it_runs_in_place_of_a_command(home: Path) -> None:
    """With every word behind its name as it is, the environment, and its own exit status."""
    add(home, "pro", '#!/bin/sh\nprintf "%s|" "$@"; echo "$MARK"; exit 7\n')
    done = hilbert(home, "pro", "auth", "--help", "--gateway=x", "a b")
    assert (done.returncode, done.stdout) == (7, "auth|--help|--gateway=x|a b|seen\n")


def test_one_that_cannot_run(home: Path) -> None:
    path = add(home, "pro", "\x7fELF nonsense")
    done = hilbert(home, "pro")
    assert done.returncode == 1
    assert f"cannot run the plug-in {path}" in done.stderr


@pytest.mark.parametrize("name", ["list", "ls", "ns", "secret", "secrets", "up", "help", "namespaces"])
def test_own_commands_come_first(home: Path, name: str) -> None:
    """Whatever lies in that folder."""
    add(home, name)
    assert find_plugin([name], {"HOME": str(home)}) is None


def test_what_is_no_plug_in(home: Path) -> None:
    add(home, "data", mode=0o644)
    (home / ".openfaas" / "plugins" / "folder").mkdir()
    add(home, "diag")
    environ = {"HOME": str(home)}
    assert find_plugin(["diag", "x"], environ) == home / ".openfaas" / "plugins" / "diag"
    for words in ([], ["data"], ["folder"], ["nothing"], ["../plugins/diag"], ["/bin/sh"], ["--diag"], ["DIAG"]):
        assert find_plugin(words, environ) is None, words
    assert find_plugin(["diag"], {}) is None


def test_unknown_commands_stay_unknown(home: Path) -> None:
    done = hilbert(home, "lst")
    assert done.returncode == 2
    assert "did you mean 'hilbert list'?" in done.stderr
