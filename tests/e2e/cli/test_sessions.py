"""What every command writes, word for word: `sessions/*.txt`, replayed against a scripted gateway.

A session is lines `$ hilbert ...` with what they gave: standard output as it is, standard error behind `! `, an exit
status other than 0 as `[1]`. `< FILE` feeds a file, `echo TEXT |` a line. Sessions named `*.terminal.txt` run at a
terminal, where both streams come as one. `UPDATE_SESSIONS=1` writes them anew; read the difference before committing.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli import CommandLine, Gateway, Reply, Result, scripted
from support.zygote import Zygote

SESSIONS = Path(__file__).parent / "sessions"

STACK = """\
version: "1.0"
provider:
  name: openfaas
functions:
  stronghash:
    skip_build: true
    image: functions/alpine
    fprocess: sha512sum
    namespace: dev
    environment:
      COUNTRY: NO
    labels:
      tier: ${TIER:-gold}
  web:
    skip_build: true
    image: example/web:1.10
    limits: {memory: 64Mi}
"""

STORE = """\
{"version": "0.2.1", "functions": [
 {"title": "Figlet", "name": "figlet", "author": "openfaas", "description": "Generate ASCII logos",
  "images": {"x86_64": "ghcr.io/openfaas/figlet:latest"}, "repo_url": "https://example.com/figlet"},
 {"title": "env", "name": "env", "author": "openfaas", "description": "Print the environment",
  "images": {"x86_64": "ghcr.io/openfaas/alpine:latest", "arm64": "a"}, "fprocess": "env",
  "environment": {"write_timeout": "60s"}, "labels": {"a": "b"}, "readOnlyRootFilesystem": true},
 {"title": "Other", "name": "other", "author": "x", "description": "Not for here", "images": {"armhf": "y"}}
]}
"""


def prepare(gateway: Gateway, folder: Path) -> None:
    """What every session finds."""
    gateway.namespaces["dev"] = {"name": "dev", "labels": {"openfaas": "1"}, "annotations": {"openfaas": "1", "b": "2"}}
    gateway.add(
        "figlet",
        image="ghcr.io/openfaas/figlet:latest",
        invocationCount=12,
        usage={"cpu": 1.5, "totalMemoryBytes": 20 * 1024 * 1024},
        limits={"memory": "64Mi", "cpu": "100m"},
        envVars={"A": "1", "B": "2"},
        envProcess="figlet",
        secrets=["api-key"],
    )
    gateway.add("broken", "dev", secrets=["gone"], replicas=2)
    gateway.functions["openfaas-fn", "figlet"]["hilbert"]["placement"] = {"sandbox": "bubblewrap"}
    gateway.secrets["openfaas-fn", "api-key"] = b"1"
    gateway.bodies["figlet"] = lambda call: Reply(body=b"<" + call.body.strip() + b">\n", headers={"X-Call-Id": "c1"})
    gateway.bodies["broken"] = lambda _: Reply(500, b"it\nbroke", {"X-Call-Id": "c2"})
    gateway.logs = [
        {
            "name": "figlet",
            "namespace": "",
            "instance": "figlet-1",
            "timestamp": f"2024-05-06T07:08:0{n}.123456789Z",
            "text": text,
        }
        for n, text in enumerate(["started\n", "\x1b]0;title\x07\x1b[2J\u202eevil\n", 'say "hi"\n'])
    ]
    (folder / "stack.files").mkdir()
    (folder / "stack.files" / "stack.yaml").write_text(STACK)
    (folder / "stack.files" / "broken.yaml").write_text("functions:\n  a: [1\n")
    (folder / "store.json").write_text(STORE)
    (folder / ".secrets").mkdir()
    (folder / ".secrets" / "api-key").write_bytes(b"two\n")
    (folder / ".secrets" / "other").write_bytes(b"three\n")


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    found = Zygote()
    yield found
    found.close()


@pytest.mark.parametrize("path", sorted(SESSIONS.glob("*.txt")), ids=lambda path: path.stem)
def test_session(path: Path, zygote: Zygote) -> None:
    """Every byte of it."""
    text = path.read_text()
    with scripted(zygote) as (gateway, line):
        prepare(gateway, line.folder)
        line.environ["OPENFAAS_STORE"] = "store.json"
        replayed = "".join(
            replay(command, gateway, line, terminal=".terminal." in path.name) for command in commands(text)
        )
    if os.environ.get("UPDATE_SESSIONS"):
        path.write_text(replayed)
        return
    assert replayed == text


def commands(text: str) -> list[str]:
    """The `$` lines, and the comments before them."""
    return [line for line in text.splitlines() if line.startswith(("$ ", "# "))]


def replay(command: str, gateway: Gateway, line: CommandLine, *, terminal: bool) -> str:
    """The command with what it gives now."""
    if command.startswith("# "):
        if command.startswith("# gateway:"):
            exec(command.removeprefix("# gateway:").strip(), {"gateway": gateway, "Reply": Reply})
        return f"{command}\n"
    shell = command.removeprefix("$ ")
    stdin = b""
    if shell.startswith("echo "):
        said, _, shell = shell.partition(" | ")
        stdin = said.removeprefix("echo ").encode() + b"\n"
    shell, _, feed = shell.partition(" < ")
    if feed:
        stdin = (line.folder / feed.strip()).read_bytes()
    words = shlex.split(shell)
    assert words[0] == "hilbert", command
    run = line.run_at_terminal if terminal else line.run
    result = run(*[word.replace("http://gateway", gateway.url) for word in words[1:]], stdin=stdin)
    assert "Traceback" not in result.out + result.err, f"{command}\n{result.err}"
    return f"{command}\n{shown(result, gateway, line)}"


def shown(result: Result, gateway: Gateway, line: CommandLine) -> str:
    """Both streams and the status, with what differs from run to run replaced."""
    text = result.out
    if text and not text.endswith("\n"):
        text += "\\\n"
    text += "".join(f"! {error}\n" for error in result.err.splitlines())
    text += f"[{result.status}]\n" if result.status else ""
    text = text.replace(gateway.url, "http://gateway").replace(str(line.folder), "/home/me")
    text = re.sub(r"\(\d+\.\d s\)", "(0.1 s)", text)
    return re.sub(r'"seconds": [0-9.e-]+', '"seconds": 0.1', text).replace("\x1b", "^[")


def test_every_command_has_been_seen() -> None:
    """A command that no session runs is a command that nobody has looked at."""
    from hilbert.cli.commands import SECTIONS

    text = "\n".join(path.read_text() for path in SESSIONS.glob("*.txt"))
    # These have tests of their own, with the platform, with git and builders, with PyNaCl.
    elsewhere = {"From source to function", "Platform on this machine"}
    exempt = {"completion", "secret keygen", "secret seal", "secret unseal"}
    missing = [
        command.path
        for title, commands in SECTIONS.items()
        for command in commands
        if title not in elsewhere and command.path not in exempt and not re.search(rf"hilbert {command.path}\b", text)
    ]
    assert missing == []
