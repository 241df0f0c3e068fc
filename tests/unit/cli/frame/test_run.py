"""From words to an exit status: spellings, flags before the command, mistakes, faults."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from hilbert.cli.frame import run
from hilbert.cli.frame.command import Command, Noun
from hilbert.cli.frame.commands import NOUNS, all_commands
from hilbert.cli.frame.dispatch import find
from hilbert.cli.frame.help import render_help
from hilbert.cli.function import list as functions
from support.cli import Gateway

FOLDERS = (
    "platform",
    "gateway",
    "function",
    "queued",
    "source",
    "template",
    "token",
    "password",
    "iam",
    "image",
    "store",
    "namespace",
    "secret",
    "stack",
    "audit",
)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[Gateway]:
    found = Gateway().start()
    found.password = None
    monkeypatch.setenv("OPENFAAS_URL", found.url)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HILBERT_STATE_DIR", str(tmp_path))
    monkeypatch.chdir(str(tmp_path))
    for name in ("OPENFAAS_CONFIG", "CI", "FAAS_DEBUG", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("flags", "methods"),
    [
        ([], ["PUT", "POST"]),
        (["--replace=false"], ["PUT", "POST"]),
        (["--update=true", "--replace=false"], ["PUT", "POST"]),
        (["--update=false"], ["POST"]),
        (["--no-update"], ["POST"]),
        (["--replace"], ["DELETE", "POST"]),
        (["--replace=true", "--update=false"], ["DELETE", "POST"]),
        (["--replace=1", "--update=0"], ["DELETE", "POST"]),
        (["--replace=T", "--update=F"], ["DELETE", "POST"]),
    ],
)
def test_booleans_are_written_as_cobra_takes_them(gateway: Gateway, flags: list[str], methods: list[str]) -> None:
    """`--flag`, `--flag=false`, and Go's other words."""
    assert run.run(["deploy", "--image", "i", "--name", "f", "--no-wait", *flags]) == 0
    assert [call.method for call in gateway.calls] == methods


@pytest.mark.parametrize(
    "words",
    [
        ["list", "-n", "dev"],
        ["list", "-n=dev"],
        ["list", "-ndev"],
        ["list", "--namespace", "dev"],
        ["list", "--namespace=dev"],
        ["-n", "dev", "list"],
        ["--namespace=dev", "ls"],
        ["list", "-qn", "dev"],
    ],
)
def test_values_are_written_as_cobra_takes_them(gateway: Gateway, words: list[str]) -> None:
    """Long and short, glued or not, before the command or behind it."""
    gateway.namespaces["dev"] = {"name": "dev"}
    assert run.run(words) == 0
    assert gateway.calls[-1].query == {"namespace": "dev"}


def test_repeated_flags_add_up_and_commas_stay(gateway: Gateway) -> None:
    """A value with a comma or an equals sign is one value."""
    words = [
        "deploy",
        "--image",
        "i",
        "--name",
        "f",
        "--no-wait",
        "-e",
        "A=1,2",
        "--env=B=x=y",
        "-eC=",
        "--label",
        "a=b",
    ]
    assert run.run([*words, "-l", "c=d", "--secret", "s", "--secret=t"]) == 1  # There are no such secrets.
    sent = next(call for call in reversed(gateway.calls) if call.path == "/system/functions").json
    assert sent["envVars"] == {"A": "1,2", "B": "x=y", "C": ""}
    assert (sent["labels"], sent["secrets"]) == ({"a": "b", "c": "d"}, ["s", "t"])


@pytest.mark.parametrize(
    ("argv", "hoisted"),
    [
        (["list"], ["list"]),
        (["-f", "x", "deploy", "--name", "y"], ["deploy", "--name", "y", "-f", "x"]),
        (["--tls-no-verify", "-g=u", "ns", "list"], ["ns", "list", "--tls-no-verify", "-g=u"]),
        (["-n", "d", "invoke", "f", "--", "-x"], ["invoke", "f", "-n", "d", "--", "-x"]),
        (["--unknown", "list"], ["--unknown", "list"]),
        (["-f"], ["-f"]),
    ],
)
def test_flags_before_the_command_are_moved_behind_it(argv: list[str], hoisted: list[str]) -> None:
    """Cobra takes persistent flags anywhere."""
    assert run.hoist(argv) == hoisted


@pytest.mark.parametrize(
    ("argv", "path", "words"),
    [
        (["audit", "--follow"], "audit list", ["--follow"]),
        (["tokens", "--json"], "token list", ["--json"]),
        (["secret", "-n", "dev"], "secret list", ["-n", "dev"]),
    ],
)
def test_a_noun_with_flags_lists(argv: list[str], path: str, words: list[str]) -> None:
    found, rest = find(argv)
    assert (found.path, rest) == (path, words)


@pytest.mark.parametrize(
    ("argv", "error", "hint"),
    [
        (["lst"], "unknown command: lst", "did you mean 'hilbert list'?"),
        (["ns", "creat", "x"], "unknown command: ns creat", "did you mean 'hilbert ns create'?"),
        (["secret", "xyzzy"], "unknown command: secret xyzzy", "--help"),
        (["deploy", "--imge", "x"], "unknown option: --imge", "did you mean --image?"),
        (["list", "--sort", "size"], "--sort size: must be one of name, invocations, creation", "--help"),
        (["scale", "f", "x"], "REPLICAS: (x) is not a whole number", "--help"),
        (["scale", "f"], "REPLICAS is missing", "--help"),
        (["list", "a", "b"], "unexpected arguments: a b", "--help"),
        (["list", "-n"], "-n needs a value", "-n=VALUE"),
        (["deploy", "--parallel", "0", "--image", "i", "--name", "f"], "--parallel 0", ""),
        (["deploy", "--ready-timeout", "soon", "--image", "i", "--name", "f"], "--ready-timeout: (soon)", ""),
    ],
)
def test_mistakes_end_with_two(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], argv: list[str], error: str, hint: str
) -> None:
    """One line on what is wrong, one on what to do, nothing on standard output, no request."""
    assert run.run(argv) == 2
    caught = capsys.readouterr()
    assert caught.out == ""
    first, *rest = caught.err.splitlines()
    assert first.startswith("error: ")
    assert error in first
    assert hint in " ".join(rest)
    assert gateway.calls == []


def test_failures_end_with_one(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error."""
    assert run.run(["list", "-n", "nowhere"]) == 1
    assert capsys.readouterr() == ("", "error: namespace not valid\n")


def test_a_fault_is_one_line_too(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the traceback on demand."""

    def broken(*_: object, **__: object) -> None:
        raise LookupError("oops")

    monkeypatch.setattr(functions, "connect", broken)
    assert run.run(["list"]) == 1
    assert capsys.readouterr().err.startswith(
        "error: this is a bug in hilbert: LookupError: oops\nhint: set FAAS_DEBUG=1"
    )
    monkeypatch.setenv("FAAS_DEBUG", "1")
    with pytest.raises(LookupError):
        run.run(["list"])


def test_an_interrupted_command_says_nothing(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """And ends with what shells expect."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(functions, "connect", interrupted)
    assert run.run(["list"]) == 130


@pytest.mark.parametrize("command", all_commands(), ids=lambda command: command.path)
def test_every_command_has_a_page_with_examples(command: Command) -> None:
    """That begins with what it is for, and whose examples are of this command."""
    text = render_help(command.path.split(" "))
    assert text is not None
    assert " ".join(text.split()).startswith(" ".join(command.help.split()))
    examples = text.partition("Examples:\n")[2].partition("\n\n")[0]
    assert f"hilbert {command.path}" in examples
    flags = text.partition("\nFlags:\n")[2].splitlines()
    undescribed = [line for line in flags if line.startswith("  -") and line.rstrip().endswith(("TEXT", "NUMBER"))]
    assert [line for line in undescribed if flags.index(line) + 1 == len(flags)] == []


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.name)
def test_a_noun_alone_shows_its_commands(noun: Noun, capsys: pytest.CaptureFixture[str]) -> None:
    """By its name and by its short one."""
    for word in (noun.name, *noun.aliases):
        assert run.run([word]) == 0
        assert f"Usage: hilbert {noun.name} COMMAND" in capsys.readouterr().out


def test_examples_can_be_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example of every page is a command line that exists."""
    import shlex

    from hilbert.cli.frame.command_help import page_of
    from hilbert.cli.frame.spellings import find_command

    for command in all_commands():
        for example in command.examples:
            words = shlex.split(example.replace("<(", " ").replace(")", " "))
            start = max(n for n, word in enumerate(words) if word == "hilbert") + 1
            own = list(words[start:])
            for stop in ("|", "<"):
                own = own[: own.index(stop)] if stop in own else own
            assert find_command(own) == command, example
            known = {name for entry in page_of(command).flags for name in entry.names}
            flags = {word.partition("=")[0] for word in own if word.startswith("-") and word != "-"}
            assert flags <= known, example


def test_modules_are_not_loaded_before_their_command_runs() -> None:
    """Starting is fast because most is left out."""
    import subprocess

    code = "import sys, hilbert.cli.frame.dispatch as a; a.find([\"list\"]); print([m for m in sys.modules if m.startswith('hilbert.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stdout))
    lists = {f"hilbert.cli.{folder}" for folder in FOLDERS}
    frame = {
        f"hilbert.cli.frame{module}" for module in ("", ".command", ".commands", ".dispatch", ".spellings", ".failures")
    }
    assert loaded == {"hilbert.cli", "hilbert.core", "hilbert.core.errors", *frame, *lists}


def test_the_list_needs_no_slow_modules(gateway: Gateway) -> None:
    """What `hilbert list` must not load, since each would cost tens of milliseconds."""
    import subprocess

    code = (
        "import sys; from hilbert.cli.frame.run import run; run(['list']); print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stderr))
    assert "hilbert.client.sync" in loaded
    slow = {
        "asyncio",
        "rich",
        "yaml",
        "ssl",
        "email",
        "http.client",
        "urllib.request",
        "structlog",
        "hilbert.stack.file",
    }
    assert slow & loaded == set()
