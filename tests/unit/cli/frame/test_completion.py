"""Scripts for shells."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from hilbert.cli.frame import completion
from hilbert.cli.frame.commands import all_commands


def complete(*words: str, before: str = "") -> list[str]:
    """What bash offers for the last word; `before` is run first."""
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"{before}\n{completion.render_bash()}\nCOMP_WORDS=({quoted})\nCOMP_CWORD={len(words) - 1}\n_hilbert\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-u", "-c", script], capture_output=True, text=True, check=True, cwd="/")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("hilbert", "nam"), ["namespace", "namespaces"]),
        (("hilbert", "namespace", "cr"), ["create"]),
        (("hilbert", "ns", "cr"), ["create"]),
        (("hilbert", "ns", "create", "--anno"), ["--annotation"]),
        (("hilbert", "list", "--name"), ["--namespace"]),
        (("hilbert", "-n", "dev", "list", "--sor"), ["--sort"]),
        (("hilbert", "secret", "rm", "--gate"), ["--gateway"]),
    ],
)
def test_bash_offers_what_may_come_next(words: tuple[str, ...], offered: list[str]) -> None:
    """Words of nouns, then of commands, then flags."""
    assert complete(*words) == offered


FAKE = """hilbert() {
  case "$*" in
    "list -q") printf '%s\\n' figlet 'f$(touch${IFS}hacked)' ;;
    "list -q -n dev") echo web ;;
    namespaces) printf 'Namespaces:\\n - dev\\n - prod\\n' ;;
    "new --list") printf 'Languages available as templates:\\n- bash\\n- node22\\n' ;;
  esac
}"""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("hilbert", "describe", "f"), ["figlet", "ftouchIFShacked"]),
        (("hilbert", "rm", "-n", "dev", ""), ["web"]),
        (("hilbert", "list", "-n", ""), ["dev", "prod"]),
        (("hilbert", "ns", "delete", "p"), ["prod"]),
        (("hilbert", "new", "x", "--lang", "no"), ["node22"]),
    ],
)
def test_bash_offers_names(words: tuple[str, ...], offered: list[str]) -> None:
    """Of functions, namespaces and templates, as the gateway has them now; nothing in a name is run."""
    assert [word for word in complete(*words, before=FAKE) if not word.startswith("-")] == offered


def test_every_command_is_offered_by_every_shell() -> None:
    """And zsh's is valid zsh, fish's valid fish, where they are here."""
    for shell, script in (
        ("bash", completion.render_bash()),
        ("zsh", completion.render_zsh()),
        ("fish", completion.render_fish()),
    ):
        for command in all_commands():
            assert command.path.split(" ")[-1] in script, (shell, command.path)
        if shutil.which(shell):
            subprocess.run([shell, "-n", "/dev/stdin"], input=script, text=True, check=True)
