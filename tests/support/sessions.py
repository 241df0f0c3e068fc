"""Sessions: commands with what they write, word for word, piped and at a terminal.

`NAME.txt` is lines `$ COMMAND` with what they gave piped: standard output as it is, standard error behind `! `, an exit
status other than 0 as `[1]`. `NAME.terminal.txt` is what the same commands give at a terminal, where both streams come as
one. `UPDATE_SESSIONS=1` writes both anew; read the difference before committing.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from support.cli import CommandLine, Gateway, Reply, Result

Masks = Sequence[tuple[re.Pattern[str], str]]

_PROGRESS = re.compile(r"\r\x1b\[K(?:[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏][^\r\n]*)?")
"""A moving line, which appears when something takes long enough."""


def sessions(folder: Path) -> list[tuple[Path, bool]]:
    """Every session, piped and at a terminal."""
    paths = [path for path in sorted(folder.glob("*.txt")) if not path.name.endswith(".terminal.txt")]
    return [(path, terminal) for path in paths for terminal in (False, True)]


def name_of(value: object) -> str:
    """For pytest."""
    return value.stem if isinstance(value, Path) else ("terminal" if value else "piped")


class Player:
    """Replays a session's commands. `hilbert` runs as `line` has it, all else in a shell."""

    def __init__(self, line: CommandLine, gateway: Gateway, *, terminal: bool, mask: Callable[[str], str]) -> None:
        self._line = line
        self._gateway = gateway
        self._terminal = terminal
        self._mask = mask

    def check(self, path: Path) -> None:
        """Every byte of it is as written, or is written anew."""
        commands = [line for line in path.read_text().splitlines() if line.startswith(("$ ", "# "))]
        replayed = "".join(f"{command}\n{self._play(command)}" for command in commands)
        expected = path.with_suffix(".terminal.txt") if self._terminal else path
        if os.environ.get("UPDATE_SESSIONS"):
            expected.write_text(replayed)
            return
        differences = difflib.unified_diff(
            expected.read_text().splitlines(), replayed.splitlines(), "as written", "as played", lineterm="", n=1
        )
        assert replayed == expected.read_text(), "\n".join(differences)

    def _play(self, command: str) -> str:
        """What the command gives now. `# gateway: ...` scripts the gateway."""
        if command.startswith("#"):
            if command.startswith("# gateway:"):
                exec(command.removeprefix("# gateway:").strip(), {"gateway": self._gateway, "Reply": Reply})
            return ""
        shell = command.removeprefix("$ ")
        stdin = b""
        if shell.startswith("echo ") and " | hilbert " in shell:
            said, _, shell = shell.partition(" | ")
            stdin = said.removeprefix("echo ").encode() + b"\n"
        if not shell.startswith("hilbert "):
            return self._shown(self._in_shell(shell))
        shell, _, feed = shell.partition(" < ")
        if feed:
            stdin = (self._line.folder / feed.strip()).read_bytes()
        words = [word.replace("http://gateway", self._gateway.url) for word in shlex.split(shell)[1:]]
        result = (self._line.run_at_terminal if self._terminal else self._line.run)(*words, stdin=stdin)
        assert "Traceback" not in result.out + result.err, f"{command}\n{result.out}{result.err}"
        return self._shown(result)

    def _in_shell(self, shell: str) -> Result:
        done = subprocess.run(
            ["bash", "-c", shell],
            cwd=self._line.folder,
            env=self._line.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def _shown(self, result: Result) -> str:
        """Both streams and the status, with what differs from run to run replaced."""
        text = _PROGRESS.sub("", result.out)
        if text and not text.endswith("\n"):
            text += "\\\n"
        text += "".join(f"! {error}\n" for error in result.err.splitlines())
        text += f"[{result.status}]\n" if result.status else ""
        return self._mask(text.replace(self._gateway.url, "http://gateway")).replace("\x1b", "^[")


def mask_with(masks: Masks) -> Callable[[str], str]:
    """Put fixed words in place of what matches."""

    def mask(text: str) -> str:
        for pattern, instead in masks:
            text = pattern.sub(instead, text)
        return text

    return mask
