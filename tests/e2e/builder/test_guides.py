"""The guide to the inner loop, its commands run as a shell runs them; and every command that the guides name exists."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from hilbert.cli.frame.commands import all_commands
from support.platform import HILBERT, running

GUIDES = Path(__file__).resolve().parents[3] / "docs" / "guides"


def commands(guide: str) -> list[str]:
    """The lines of the guide's shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (GUIDES / guide).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_the_guide_to_the_inner_loop_runs() -> None:
    """All but what runs until it is interrupted."""
    with running() as platform:
        lines = [line for line in commands("inner-loop.md") if "--watch" not in line]
        if shutil.which("curl") is None:
            lines = [line for line in lines if not line.startswith("curl")]
        script = "\n".join(lines).replace("http://127.0.0.1:8080", platform.url)
        script = re.sub(r"^(hilbert logs .*)$", r"\1 --tail=false", script, flags=re.MULTILINE)
        environ = {**platform.environ, "PATH": f"{Path(HILBERT).parent}:{platform.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            env=environ,
            cwd=platform.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        assert "Hello, Ada!" in done.stdout or shutil.which("curl") is None


@pytest.mark.parametrize("guide", ["build.md", "templates.md", "inner-loop.md"])
def test_commands_and_flags_exist(guide: str) -> None:
    """As the command line knows them."""
    known = {command.path for command in all_commands()}
    found = [shlex.split(line) for line in commands(guide) if line.startswith("hilbert ")]
    assert found
    for words in found:
        path = [word for word in words[1:4] if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
        command = next((" ".join(path[:n]) for n in (3, 2, 1) if " ".join(path[:n]) in known), None)
        assert command is not None, words
        page = subprocess.run([HILBERT, *command.split(), "--help"], capture_output=True, text=True, check=True).stdout
        for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert flag in page, f"{flag} of {words}"
