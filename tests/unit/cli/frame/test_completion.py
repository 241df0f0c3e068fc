"""Scripts for shells."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

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


FISH_FAKE = """function hilbert
  switch "$argv"
    case "list -q"
      printf '%s\\n' figlet 'f$(touch hacked)'
    case "list -q -n dev" "list -q --namespace dev"
      echo web
    case namespaces
      printf 'Namespaces:\\n - dev\\n - prod\\n'
    case "new --list"
      printf 'Languages available as templates:\\n- bash\\n- node22\\n'
  end
end"""


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not here")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("hilbert describe f", {"figlet"}),
        ("hilbert rm -n dev w", {"web"}),
        ("hilbert logs --namespace dev w", {"web"}),
        ("hilbert list -n ", {"dev", "prod"}),
        ("hilbert ns delete p", {"prod"}),
        ("hilbert namespace get d", {"dev"}),
        ("hilbert new x --lang no", {"node22"}),
    ],
)
def test_fish_offers_names(line: str, offered: set[str], tmp_path: Path) -> None:
    """The same names as bash does."""
    script = f"{completion.render_fish()}\n{FISH_FAKE}\ncomplete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True, cwd="/",
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    found = {one.split("\t")[0] for one in done.stdout.splitlines()}
    assert offered <= found
    assert not [name for name in found if "$" in name]


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
