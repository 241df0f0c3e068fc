"""The guides' code, run against the platform."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.platform import HILBERT, Platform, running

CLONE = Path(__file__).resolve().parents[3]
GUIDES = CLONE / "docs" / "guides"


@pytest.fixture
def platform() -> Iterator[Platform]:
    with running() as found:
        yield found


def blocks(guide: str, language: str) -> list[str]:
    """The guide's code blocks of one language, in order."""
    text = (GUIDES / guide).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_python_guide_runs(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    """Every block, in order, as one program."""
    names: dict[str, object] = {"url": platform.url, "password": platform.password}
    for block in blocks("python-client.md", "python"):
        exec(compile(block, "python-client.md", "exec"), names)
    said = capsys.readouterr().out
    assert "['stronghash']" in said
    assert "200 9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca7" in said  # sha512 of hello
    assert "NamespaceNotFound" in said


def test_the_first_function_guide_runs(platform: Platform) -> None:
    """Its commands as a shell runs them, against the platform of this test instead of a new one."""
    (stack,) = blocks("first-function.md", "yaml")
    (platform.folder / "stack.yaml").write_text(stack)
    skipped = ("hilbert up --detach",)
    for block in blocks("first-function.md", "sh"):
        joined = block.replace("\\\n", " ")
        lines = [line for line in joined.splitlines() if not line.startswith(skipped)]
        if shutil.which("curl") is None:
            lines = [line for line in lines if not line.startswith("curl")]
        script = "\n".join(lines).replace("http://127.0.0.1:8080", platform.url)
        script = re.sub(r"^(hilbert logs .*)$", r"\1 --tail=false", script, flags=re.MULTILINE)
        environ = {
            **platform.environ,
            "HOME": str(platform.folder),
            "PATH": f"{Path(HILBERT).parent}:{platform.environ['PATH']}",
        }
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            env=environ, cwd=CLONE if "pip install" in script else platform.folder,
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        # A difference that is shown is an exit status of its own.
        assert done.returncode == 0 or ("hilbert diff" in script and done.returncode == 1), (
            f"{script}\n{done.stdout}{done.stderr}"
        )


def test_the_guide_for_a_team_runs(platform: Platform) -> None:
    """Every command, in order; the gateway that runs here is found by itself."""
    environ = {**platform.environ, "PATH": f"{Path(HILBERT).parent}:{platform.environ['PATH']}"}
    script = "\n".join(blocks("team-namespace.md", "sh"))
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script], env=environ, cwd=platform.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Token revoked: ci (" in done.stdout
    assert "dev:*: Function:List" in done.stdout


def test_removing_everything_leaves_nothing(platform: Platform) -> None:
    """The commands of the guide's section, as they stand there, on a machine with a login, a function and a secret."""
    text = (GUIDES / "upkeep.md").read_text(encoding="utf-8")
    section = text.partition("## Remove everything from a machine")[2]
    (script,) = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    home = platform.folder / "home"
    (home / ".hilbert" / "bin").mkdir(parents=True)
    platform.hilbert("secret", "create", "key", "--from-literal", "v")
    platform.hilbert("deploy", "--name", "cat", "--image", "functions/alpine:latest", "--fprocess", "cat")
    assert platform.replicas()
    environ = {
        **platform.environ,
        "HOME": str(home),
        "STATE": str(platform.state),
        "PATH": f"{Path(HILBERT).parent}:{platform.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-e", "-u", "-c", script], env=environ, cwd=platform.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert platform.process is not None
    assert platform.process.wait(30) == 0
    assert not platform.state.exists()
    assert not (home / ".hilbert").exists()
    assert not platform.processes()
    left = [path for path in (platform.folder / "r").rglob("*") if not path.is_dir() and path.name != "lock"]
    assert not left, left
