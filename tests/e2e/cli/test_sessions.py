"""What every command writes, word for word, piped and at a terminal: `sessions/*.txt`, against a scripted gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli import Gateway, Reply, scripted
from support.sessions import Player, mask_with, name_of, sessions
from support.zygote import Zygote

SESSIONS = Path(__file__).parent / "sessions"
OTHERS = Path(__file__).parents[1] / "builder" / "sessions"

MASKS = (
    (re.compile(r"\(\d+\.\d s\)"), "(0.1 s)"),
    (re.compile(r'"seconds": [0-9.e-]+'), '"seconds": 0.1'),
    (re.compile(r"Key ID: \S{8}"), "Key ID: ABCDEFGH"),
)

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


TOKEN = b"""{"id": "3f2a9c0d11e4b567", "name": "ci", "role": "deployer", "namespaces": ["dev", "staging"],
 "createdAt": "2024-05-06T07:08:09Z", "createdBy": "admin", "expiresAt": "2024-08-04T07:08:09Z"}"""


SCALING = b"""{"name": "figlet", "namespace": "openfaas-fn", "replicas": 4, "available": 3, "load": 17.25, "wanted": 4,
 "rule": {"type": "rps", "target": 5, "proportion": 0.9, "min": 1, "max": 20, "zero": true, "zeroAfter": "15m0s", "downWindow": "1m0s"},
 "reason": "Load", "message": "rps 17.25, for 4.5 a replica", "changes": [{"at": "2024-05-06T07:08:09Z", "before": 1, "after": 4,
 "reason": "Load", "message": "rps 17.25, for 4.5 a replica", "load": 17.25, "wanted": 4}]}"""


LIMITS = b"""[{"namespace": "dev", "function": "", "limit": "rate", "value": 50, "burst": 100, "used": 12, "refused": 3,
 "raisedBy": "administrator"}, {"namespace": "dev", "function": "figlet", "limit": "concurrency", "value": 4, "burst": 0,
 "used": 4, "refused": 0, "raisedBy": "owner"}]"""


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
    gateway.script |= {
        ("GET", "/system/limits"): [Reply(404), Reply(body=LIMITS), Reply(body=LIMITS), Reply(body=b"[]")],
        ("GET", "/system/scaling/figlet"): [Reply(body=SCALING)] * 2,
        ("GET", "/system/scaling/broken"): [
            Reply(body=b'{"name": "broken", "namespace": "dev", "replicas": 2, "available": 0, "message": "no label"}')
        ],
        ("POST", "/system/tokens"): [Reply(201, b'{"token": "hilbert_3f2a9c0d11e4b567_5ec2e7", "info": %s}' % TOKEN)],
        ("GET", "/system/tokens"): [Reply(body=b"[%s]" % TOKEN)] * 5,
        ("DELETE", "/system/tokens/3f2a9c0d11e4b567"): [Reply(202)],
        ("GET", "/system/whoami"): [
            Reply(body=b'{"identity": "token:3f", "claims": {"name": "ci"}, "rights": {"dev:*": ["Function:Get"]}}')
        ],
        ("GET", "/system/can-i"): [
            Reply(body=b'{"allowed": %s, "action": "Function:Create", "resource": "dev:*"}' % word)
            for word in (b"true", b"false")
        ],
    }
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


@pytest.mark.parametrize(("path", "terminal"), sessions(SESSIONS), ids=name_of)
def test_session(path: Path, terminal: bool, zygote: Zygote) -> None:
    """Every byte of it."""
    with scripted(zygote) as (gateway, line):
        prepare(gateway, line.folder)
        line.environ["OPENFAAS_STORE"] = "store.json"
        masks = (*MASKS, (re.compile(re.escape(str(line.folder))), "/home/me"))
        Player(line, gateway, terminal=terminal, mask=mask_with(masks)).check(path)


def test_every_command_has_been_seen() -> None:
    """A command that no session runs is a command that nobody has looked at. What is tested elsewhere says where."""
    from hilbert.cli.frame.commands import all_commands

    text = "\n".join(path.read_text() for folder in (SESSIONS, OTHERS) for path in folder.glob("*.txt"))
    elsewhere = {
        "completion": "tests/unit/cli/frame/test_completion.py",
        "install kubernetes": "tests/contract/kubernetes/test_install.py",
        "usage": "tests/e2e/cli/test_audit.py",
        **dict.fromkeys(("audit list", "audit verify"), "tests/e2e/cli/test_audit.py"),
        **dict.fromkeys(("password rotate", "password off", "password on"), "tests/e2e/cli/test_tokens.py"),
        **dict.fromkeys(
            ("auth", "iam apply", "iam diff", "iam get", "iam delete", "iam rotate-key"),
            "tests/e2e/cli/test_single_sign_on.py",
        ),
        **dict.fromkeys(("password off", "password on", "password rotate"), "tests/e2e/cli/test_tokens.py"),
        **dict.fromkeys(
            ("auth", "iam apply", "iam delete", "iam diff", "iam get", "iam rotate-key"),
            "tests/e2e/cli/test_single_sign_on.py",
        ),
        **dict.fromkeys(("audit list", "audit verify", "usage"), "tests/e2e/cli/test_audit.py"),
    }
    root = Path(__file__).parents[3]
    assert all((root / place).is_file() for place in elsewhere.values())
    assert all(command.split()[0] in (root / place).read_text() for command, place in elsewhere.items())
    missing = [
        command.path
        for command in all_commands()
        if command.path not in elsewhere and not re.search(rf"^\$ .*hilbert {command.path}\b", text, re.MULTILINE)
    ]
    assert missing == []
