"""The inner loop with the real platform: up, up --watch, local-run --watch, and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from support.build import needs_node
from support.platform import HILBERT, Platform, running, until

LANGUAGES = [
    pytest.param("python3-http", "handler.py", id="python3-http"),
    pytest.param("node22", "handler.js", id="node22", marks=needs_node),
    pytest.param("bash", "handler.sh", id="bash"),
]


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running() as found:
        yield found


class Command:
    """A command that runs until it is interrupted."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, text: str, *, within: float = 30.0) -> re.Match[str]:
        """Until it has written something that matches."""
        until(lambda: re.search(text, self.said), within=within, what=repr(text), log=lambda: self.said)
        found = re.search(text, self.said)
        assert found is not None
        return found

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@contextmanager
def command(platform: Platform, folder: Path, *words: str, **environ: str) -> Iterator[Command]:
    """`hilbert WORDS...` in a folder, ended with the block."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [HILBERT, *words],
            env={**platform.environ, **environ},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield Command(process, folder / "log")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def hilbert(platform: Platform, folder: Path, *words: str, expect: int = 0) -> str:
    done = subprocess.run(
        [HILBERT, *words], env=platform.environ, cwd=folder, capture_output=True, timeout=60, check=False
    )
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == expect, said
    return said


def save(file: Path, old: str, new: str) -> None:
    """As careful editors do: a new file over the old."""
    part = file.with_name(f".{file.name}.swp")
    part.write_text(file.read_text().replace(old, new))
    part.chmod(file.stat().st_mode)
    part.replace(file)


def ask(url: str) -> str:
    with urllib.request.urlopen(url, data=b"Ada", timeout=20) as answer:
        text: str = answer.read().decode()
        return text


def test_up_builds_deploys_and_builds_again(platform: Platform, tmp_path: Path) -> None:
    """One command from source to answer; a second one changes the answer."""
    hilbert(platform, tmp_path, "new", "first", "--lang", "python3-http")
    said = hilbert(platform, tmp_path, "up")
    assert "Building first done" in said
    assert "bundle first:latest" in said
    url = f"{platform.url}/function/first?name=Ada"
    assert ask(url) == "Hello, Ada!\n"
    save(tmp_path / "first" / "handler.py", "Hello", "Bye")
    assert "its tests fail" in hilbert(platform, tmp_path, "up", expect=1)
    assert ask(url) == "Hello, Ada!\n"
    hilbert(platform, tmp_path, "up", "--skip-tests")
    assert ask(url) == "Bye, Ada!\n"
    assert "unchanged" in hilbert(platform, tmp_path, "build", "--skip-tests")
    assert re.search(
        r"first:latest +openfaas-fn +[0-9a-f]{12} +bundle, python", hilbert(platform, tmp_path, "images", "list")
    )


def test_a_bundle_of_the_same_name_with_new_content_starts_new_replicas(platform: Platform, tmp_path: Path) -> None:
    """Whoever deploys it, with whichever command; the same content starts nothing."""
    hilbert(platform, tmp_path, "new", "again", "--lang", "python3-http")
    hilbert(platform, tmp_path, "up")
    url = f"{platform.url}/function/again?name=Ada"

    def built(old: str, new: str) -> None:
        save(tmp_path / "again" / "handler.py", old, new)
        hilbert(platform, tmp_path, "build", "--skip-tests")
        assert ask(url) == f"{old}, Ada!\n", "a build alone changes nothing"

    built("Hello", "Bye")
    hilbert(platform, tmp_path, "deploy")
    assert ask(url) == "Bye, Ada!\n"
    built("Bye", "Hi")
    body = {"service": "again", "image": "again:latest"}
    assert platform.api("PUT", "/system/functions", body).status == 202
    until(lambda: ask(url) == "Hi, Ada!\n", what="the new content", log=lambda: platform.log)
    started = platform.log.count('"replica ready"')
    hilbert(platform, tmp_path, "deploy")
    assert platform.log.count('"replica ready"') == started


@pytest.mark.parametrize(("lang", "file"), LANGUAGES)
def test_up_watch(platform: Platform, tmp_path: Path, lang: str, file: str) -> None:
    """What is saved answers, calls meanwhile are answered, mistakes leave the old version serving."""
    name = f"watch-{lang}"
    hilbert(platform, tmp_path, "new", name, "--lang", lang, "--quiet")
    handler, url = tmp_path / name / file, f"{platform.url}/function/{name}?name=Ada"
    with command(platform, tmp_path, "up", "--watch") as watch:
        watch.wait_for("press Ctrl-C to stop")
        assert ask(url) == "Hello, Ada!\n"
        save(handler, "Hello", "Bye")
        answers = {ask(url)}
        until(lambda: answers.add(ask(url)) or "Bye, Ada!\n" in answers, what="the new answer", log=lambda: watch.said)
        assert answers <= {"Hello, Ada!\n", "Bye, Ada!\n"}
        watch.wait_for(rf"{name}: sha256:[0-9a-f]{{12}} is serving")
        good = handler.read_text()
        handler.write_text(f"{good}\nif ((\n")
        watch.wait_for("keeps serving")
        assert ask(url) == "Bye, Ada!\n"
        handler.write_text(good.replace("Bye", "Back"))
        until(lambda: ask(url) == "Back, Ada!\n", what="the mended handler", log=lambda: watch.said)
        assert watch.interrupt() == 130
    assert ask(url) == "Back, Ada!\n"


def test_up_watch_follows_the_stack_file(platform: Platform, tmp_path: Path) -> None:
    """A broken one stays without effect; a new environment takes effect."""
    hilbert(platform, tmp_path, "new", "envy", "--lang", "bash", "--quiet")
    (tmp_path / "envy" / "handler.sh").write_text('cat > /dev/null; echo "${WORD:-none}"\n')
    (tmp_path / "envy" / "handler_test.sh").unlink()
    stack, url = tmp_path / "stack.yaml", f"{platform.url}/function/envy"
    with command(platform, tmp_path, "up", "--watch") as watch:
        watch.wait_for("press Ctrl-C to stop")
        assert ask(url) == "none\n"
        good = stack.read_text()
        stack.write_text(good + "functions: {}\n")
        watch.wait_for("stays in use")
        stack.write_text(good + "    environment:\n      WORD: 1.10\n")
        until(lambda: ask(url) == "1.10\n", what="the new environment", log=lambda: watch.said)
        assert watch.interrupt() == 130


def test_a_handler_that_does_not_start(platform: Platform, tmp_path: Path) -> None:
    """It gets past every check, fails when it is loaded, and the version before goes on serving."""
    hilbert(platform, tmp_path, "new", "late", "--lang", "python3-http", "--quiet")
    handler, url = tmp_path / "late" / "handler.py", f"{platform.url}/function/late?name=Ada"
    with command(platform, tmp_path, "up", "--watch") as watch:
        watch.wait_for("press Ctrl-C to stop")
        good = handler.read_text()
        handler.write_text(f"import no_such_module\n{good}")
        watch.wait_for(r"no_such_module.*\n?.*keeps serving")
        assert ask(url) == "Hello, Ada!\n"
        handler.write_text(good.replace("Hello", "Again"))
        until(lambda: ask(url) == "Again, Ada!\n", what="the mended handler", log=lambda: watch.said)


@pytest.mark.parametrize(("lang", "file"), LANGUAGES)
def test_local_run_watch(platform: Platform, tmp_path: Path, lang: str, file: str) -> None:
    """The same without a gateway; nothing is left when it ends."""
    hilbert(platform, tmp_path, "new", "alone", "--lang", lang, "--quiet")
    handler = tmp_path / "alone" / file
    with command(platform, tmp_path, "local-run", "--port", "0", "--watch") as run:
        url = run.wait_for(r"ready at (http://\S+)")[1] + "/?name=Ada"
        assert ask(url) == "Hello, Ada!\n"
        run.wait_for("Watching")
        save(handler, "Hello", "Bye")
        until(lambda: ask(url) == "Bye, Ada!\n", what="the new answer", log=lambda: run.said)
        run.wait_for(r"version 2 \([0-9a-f]{12}\) is ready")
        handler.write_text(f"{handler.read_text()}\nif ((\n")
        run.wait_for("keeps serving")
        assert ask(url) == "Bye, Ada!\n"
        children = psutil.Process(run.process.pid).children(recursive=True)
        assert children
        assert run.interrupt() == 0
    until(lambda: not any(child.is_running() for child in children), what="its processes to end")


def test_local_run_with_environment_and_secrets(platform: Platform, tmp_path: Path) -> None:
    """Flags win over the file; a secret that is missing is named."""
    hilbert(platform, tmp_path, "new", "needy", "--lang", "bash", "--quiet")
    script = 'cat > /dev/null; echo "$A $B $(cat "$HILBERT_SECRETS_DIR/key") $OPENFAAS_NAME"\n'
    (tmp_path / "needy" / "handler.sh").write_text(script)
    (tmp_path / "needy" / "handler_test.sh").unlink()
    with (tmp_path / "stack.yaml").open("a") as stack:
        stack.write("    environment: {A: 1.0, B: two}\n    secrets: [key]\n")
    said = hilbert(platform, tmp_path, "local-run", "--port", "0", expect=1)
    assert "needs the secret key" in said
    (tmp_path / ".secrets").mkdir()
    (tmp_path / ".secrets" / "key").write_text("s3cret")
    with command(platform, tmp_path, "local-run", "needy", "--port", "0", "--env", "B=three") as run:
        url = run.wait_for(r"ready at (http://\S+)")[1]
        assert ask(url) == "1.0 three s3cret needy\n"
        assert run.interrupt() == 0
    printed = hilbert(platform, tmp_path, "local-run", "needy", "--print")
    assert "export A=1.0\n" in printed
    assert "-m hilbert.watchdog\n" in printed
    assert "s3cret" not in printed


@pytest.mark.parametrize("sandbox", ["bubblewrap", "landlock", "process"])
def test_local_run_is_as_the_platform_runs_it(platform: Platform, tmp_path: Path, sandbox: str) -> None:
    """In the sandbox that is said, without the caller's environment; all of it ends with the command, even when killed."""
    hilbert(platform, tmp_path, "new", "inside", "--lang", "python3-http", "--quiet")
    (tmp_path / "inside" / "handler.py").write_text(
        "import os, socket\n\n\ndef handle(event, context):\n"
        f"    place = os.path.exists({str(tmp_path / 'stack.yaml')!r})\n"
        "    names = [name for _, name in socket.if_nameindex()]\n"
        "    return f\"{place} {names} {os.environ.get('CALLER')} {os.path.isdir('/var/openfaas/secrets')}\"\n"
    )
    inside = sandbox == "bubblewrap"
    network = "none" if inside else "host"
    words = ["local-run", "--port", "0", "--skip-tests", "--network", network]
    with command(platform, tmp_path, *words, CALLER="me", HILBERT_PROCESS__SANDBOX=sandbox) as run:
        url = run.wait_for(r"ready at (http://\S+) \(version 1 \([0-9a-f]{12}\), (.*)\)")[1]
        assert f"sandbox {sandbox}, network {network})" in run.said
        seen = ask(url)
        assert seen.endswith(f"None {inside}")
        assert not inside or seen == "False ['lo'] None True"
        assert ("plain processes" in run.said) == (sandbox == "process")
        children = psutil.Process(run.process.pid).children(recursive=True)
        assert children
        run.process.kill()
        run.process.wait()
        until(lambda: not any(_lives(child) for child in children), what="its processes to end")


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_local_run_that_cannot_start(platform: Platform, tmp_path: Path) -> None:
    """Its output is shown, and the status says that it failed."""
    hilbert(platform, tmp_path, "new", "broken", "--lang", "python3-http", "--quiet")
    (tmp_path / "broken" / "handler.py").write_text("import no_such_module\n\ndef handle(event, context): ...\n")
    said = hilbert(platform, tmp_path, "local-run", "--port", "0", "--skip-tests", expect=1)
    assert "no_such_module" in said
    assert "function broken did not start" in said


def test_ctrl_c_leaves_nothing_half_built(platform: Platform, tmp_path: Path) -> None:
    """The program that runs is ended, the store is as before, the next build works."""
    hilbert(platform, tmp_path, "new", "slow", "--lang", "bash", "--quiet")
    test = tmp_path / "slow" / "handler_test.sh"
    good = test.read_text()
    test.write_text(f"echo $$ > {tmp_path}/pid.part; mv {tmp_path}/pid.part {tmp_path}/pid; sleep 1000\n")
    with command(platform, tmp_path, "build", "--bundle") as build:
        until(lambda: (tmp_path / "pid").exists(), what="the test to run", log=lambda: build.said)
        pid = int((tmp_path / "pid").read_text())
        assert build.interrupt() == 130
    until(
        lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE,
        what="the test to end",
    )
    assert not list((platform.state / "images" / "tmp").iterdir())
    assert "slow:latest" not in hilbert(platform, tmp_path, "images", "list")
    test.write_text(good)
    hilbert(platform, tmp_path, "build", "--bundle")
    assert "slow:latest" in hilbert(platform, tmp_path, "images", "list")


def test_a_killed_build_is_cleaned_up_by_the_next(platform: Platform, tmp_path: Path) -> None:
    """SIGKILL gives no chance to; what it left is no bundle, and goes."""
    hilbert(platform, tmp_path, "new", "killed", "--lang", "bash", "--quiet")
    test = tmp_path / "killed" / "handler_test.sh"
    good = test.read_text()
    test.write_text(f"echo $$ > {tmp_path}/pid.part; mv {tmp_path}/pid.part {tmp_path}/pid; exec sleep 1000\n")
    with command(platform, tmp_path, "build", "--bundle") as build:
        until(lambda: (tmp_path / "pid").exists(), what="the test to run", log=lambda: build.said)
        build.process.kill()
        build.process.wait()
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert list((platform.state / "images" / "tmp").iterdir())
    test.write_text(good)
    hilbert(platform, tmp_path, "build", "--bundle")
    assert not list((platform.state / "images" / "tmp").iterdir())


@needs_node
def test_replicas_that_listen_do_not_meet(platform: Platform, tmp_path: Path) -> None:
    """Two processes that speak HTTP on one network, each on a socket of its own."""
    hilbert(platform, tmp_path, "new", "twice", "--lang", "node22", "--quiet")
    script = "const id = Math.random();\nmodule.exports = async () => String(id);\n"
    (tmp_path / "twice" / "handler.js").write_text(script)
    hilbert(platform, tmp_path, "up", "--skip-tests")
    hilbert(platform, tmp_path, "scale", "twice", "2")
    seen: set[str] = set()
    until(lambda: seen.add(ask(f"{platform.url}/function/twice")) or len(seen) == 2, what="both replicas to answer")


def test_prune_keeps_what_serves(platform: Platform, tmp_path: Path) -> None:
    """A replica runs a bundle that its image's name no longer means."""
    hilbert(platform, tmp_path, "new", "kept", "--lang", "bash", "--quiet")
    hilbert(platform, tmp_path, "up")
    save(tmp_path / "kept" / "handler.sh", "Hello", "Bye")
    hilbert(platform, tmp_path, "build", "--skip-tests")
    hilbert(platform, tmp_path, "images", "prune", "--older-than", "0s")
    assert ask(f"{platform.url}/function/kept") == "Hello, Ada!\n"
    hilbert(platform, tmp_path, "up", "--skip-tests")
    assert ask(f"{platform.url}/function/kept") == "Bye, Ada!\n"


SHOUTING = {
    "python3-http": ("handler.py", "print('seen ' + 'by all')\n    raise KeyError('oh ' + 'no')"),
    "node22": ("handler.js", "console.log('seen ' + 'by all'); throw new Error('oh ' + 'no');"),
}


@pytest.mark.parametrize("lang", ["python3-http", pytest.param("node22", marks=needs_node)])
def test_up_watch_shows_what_functions_write(platform: Platform, tmp_path: Path, lang: str) -> None:
    """Prints and tracebacks, also of a version that was saved meanwhile; and each line knows its call."""
    name = f"loud-{lang}"
    hilbert(platform, tmp_path, "new", name, "--lang", lang, "--quiet")
    file, body = SHOUTING[lang]
    handler = tmp_path / name / file
    with command(platform, tmp_path, "up", "--watch") as watch:
        watch.wait_for("press Ctrl-C to stop")
        source = handler.read_text()
        at = re.search(r"^( *)return", source, re.MULTILINE)
        assert at is not None
        handler.write_text(f"{source[: at.start()]}{at[1]}{body}\n{source[at.start() :]}")
        watch.wait_for(rf"{name}: sha256:[0-9a-f]{{12}} is serving")
        for call_id in ("call-1", "call-2"):
            assert platform.call(f"/function/{name}", headers={"X-Call-Id": call_id}).status == 500
        watch.wait_for(rf"(?m)^{name} \| .*seen by all$")
        watch.wait_for(rf"(?m)^{name} \| .*oh no")
        assert watch.interrupt() == 130

    def said(*words: str) -> list[dict[str, str]]:
        text = hilbert(platform, tmp_path, "logs", name, "--tail=false", "--output", "json", *words)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def seen(lines: list[dict[str, str]]) -> int:
        return sum(line["text"].endswith("seen by all\n") for line in lines)

    until(lambda: seen(said()) == 2, what="both lines")
    found = said("--call-id", "call-2")
    assert seen(found) == 1
    assert any("oh no" in line["text"] for line in found)
    assert {line["call_id"] for line in found} == {"call-2"}
    plain = hilbert(platform, tmp_path, "logs", name, "--tail=false", "--calls")
    assert re.search(r"\[call-1\] .*seen by all", plain)
    assert said("--call-id", "no-such-call") == []


def test_up_writes_a_document_for_scripts(platform: Platform, tmp_path: Path) -> None:
    """Nothing else reaches standard output, whatever was built and started for it."""
    hilbert(platform, tmp_path, "new", "noted", "--lang", "python3-http", "--quiet")
    done = subprocess.run(
        [HILBERT, "up", "--output", "json"],
        env=platform.environ,
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        check=True,
    )
    (found,) = json.loads(done.stdout)
    assert (found["name"], found["status"], found["ready"]) == ("noted", 202, True)
    assert ask(f"{found['url']}?name=Ada") == "Hello, Ada!\n"
    for wrong in (("--watch",), ("--only-gateway",), ("--skip-deploy",)):
        assert "--output needs functions" in hilbert(platform, tmp_path, "up", "--output", "json", *wrong, expect=2)


def test_windows_line_ends_are_told(platform: Platform, tmp_path: Path) -> None:
    """Of shell scripts, with the command that mends them; a stack file and a Python handler may have them."""
    hilbert(platform, tmp_path, "new", "shell", "--lang", "bash", "--quiet")
    hilbert(platform, tmp_path, "new", "snake", "--lang", "python3-http", "--quiet", "--append", "stack.yaml")
    for file in (tmp_path / "shell" / "handler.sh", tmp_path / "snake" / "handler.py", tmp_path / "stack.yaml"):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    said = hilbert(platform, tmp_path, "build", "--skip-tests")
    assert "shell: handler.sh has Windows line ends (CRLF)" in said
    assert said.count("CRLF") == 1
    command = re.search(r"mend it with: (.*)", said)
    assert command is not None
    subprocess.run(command[1], shell=True, check=True, cwd=tmp_path)
    assert "CRLF" not in hilbert(platform, tmp_path, "up")
    for name in ("shell", "snake"):
        assert ask(f"{platform.url}/function/{name}?name=Ada") == "Hello, Ada!\n"


def test_all_missing_templates_are_named_at_once(platform: Platform, tmp_path: Path) -> None:
    """With what to do about each, before anything is built."""
    (tmp_path / "f").mkdir()
    names = ("golang-middleware", "rust-http", "pythn3-http")
    functions = "".join(f"  f{n}: {{lang: {name}, handler: ./f, image: f{n}}}\n" for n, name in enumerate(names))
    (tmp_path / "stack.yaml").write_text(f"version: '1.0'\nprovider: {{name: openfaas}}\nfunctions:\n{functions}")
    for words in (("build",), ("up", "--skip-deploy")):
        said = hilbert(platform, tmp_path, *words, expect=1)
        assert f"there are no templates {', '.join(names)}" in said
        assert "template store pull golang-middleware" in said
        assert "did you mean python3-http" in said


ASGI = """
import asyncio
import sys

async def app(scope, receive, send):
    print("seen", scope["path"])
    await asyncio.to_thread(print, "in a thread", file=sys.stderr)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
    print("no end", end="")
"""


def test_lines_of_an_asgi_application_know_their_call(platform: Platform, tmp_path: Path) -> None:
    """Its process serves all calls at once, and tells whose a line is."""
    hilbert(platform, tmp_path, "new", "app", "--lang", "python3-asgi", "--quiet")
    (tmp_path / "app" / "handler.py").write_text(ASGI)
    hilbert(platform, tmp_path, "up", "--skip-tests")
    for number in range(3):
        assert platform.call("/function/app/x", headers={"X-Call-Id": f"asgi-{number}"}).status == 200

    def said(number: int) -> str:
        return hilbert(platform, tmp_path, "logs", "app", "--tail=false", "--call-id", f"asgi-{number}")

    for number in range(3):
        until(
            lambda number=number: all(text in said(number) for text in ("/x", "in a thread", "no end")),  # type: ignore[misc]
            what="the lines of a call",
        )
        assert said(number).count("in a thread") == 1
