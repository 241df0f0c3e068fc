"""What the commands from source to function write, word for word: `sessions/*.txt`, replayed.

A session is lines `$ COMMAND` with what they gave: standard output as it is, standard error behind `! `, an exit status
other than 0 as `[1]`. `hilbert` runs as a user runs it, everything else in a shell; digests, times and versions are
masked. `UPDATE_SESSIONS=1` writes the files anew; read the difference before committing.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.build import needs_git, repository
from support.cli import CommandLine, scripted
from support.zygote import Zygote

SESSIONS = Path(__file__).parent / "sessions"

MASKS = (
    (re.compile(r"sha256:[0-9a-f]{64}"), "sha256:DIGEST"),
    (re.compile(r"sha256:[0-9a-f]{12}"), "sha256:DIGEST"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "DIGEST"),
    (re.compile(r"\b\d+\.\d\d+s\b"), "N.NNs"),
    (re.compile(r'("seconds": |seconds: )[0-9.e-]+'), r"\1N"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.0-9]*Z"), "TIME"),
    (re.compile(r'("size": )\d+'), r"\1N"),
    (re.compile(r"\d+(\.\d)? (Ki)?B\b"), "SIZE"),
)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    found = Zygote()
    yield found
    found.close()


@needs_git
@pytest.mark.parametrize("path", sorted(SESSIONS.glob("*.txt")), ids=lambda path: path.stem)
def test_session(path: Path, zygote: Zygote) -> None:
    """Every byte of it, but for what cannot be the same twice."""
    text = path.read_text()
    with scripted(zygote) as (_, line):
        line.environ["OPENFAAS_URL"] = "http://127.0.0.1:1"  # Nothing answers: bundles are built.
        repository(
            line.folder / "templates",
            {"template/mine/template.yml": "language: mine\n", "template/mine/function/x": "1"},
        )
        (line.folder / "work").mkdir()
        line.folder = line.folder / "work"
        replayed = "".join(replay(command, line) for command in text.splitlines() if command.startswith(("$ ", "# ")))
    if os.environ.get("UPDATE_SESSIONS"):
        path.write_text(replayed)
        return
    assert replayed == text


def replay(command: str, line: CommandLine) -> str:
    """The command with what it gives now."""
    words = shlex.split(command)[1:]
    if command.startswith("# "):
        return f"{command}\n"
    if words[0] != "hilbert":
        done = subprocess.run(
            ["bash", "-c", command[2:]], cwd=line.folder, env=line.environ, capture_output=True, text=True, check=False
        )
        return f"{command}\n{shown(done.stdout, done.stderr, done.returncode, line)}"
    result = line.run(*words[1:])
    assert "Traceback" not in result.out + result.err, f"{command}\n{result.err}"
    return f"{command}\n{shown(result.out, result.err, result.status, line)}"


def shown(out: str, err: str, status: int, line: CommandLine) -> str:
    """Both streams and the status, masked."""
    text = out + "".join(f"! {said}\n" for said in err.splitlines())
    for mask, instead in MASKS:
        text = mask.sub(instead, text)
    # The width of a column follows from what is masked.
    text = re.sub(r"^.*SIZE.*$", lambda row: re.sub(" {2,}", "  ", row[0]), text, flags=re.MULTILINE)
    return text.replace(str(line.folder.parent), "HOME") + (f"[{status}]\n" if status else "")
