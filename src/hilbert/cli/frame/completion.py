"""`completion`: scripts for bash, zsh and fish, written from the list of commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Final, Literal

from hilbert.cli.frame.command_help import Page, page_of
from hilbert.cli.frame.commands import NOUNS, all_commands
from hilbert.cli.frame.flags import flag
from hilbert.cli.frame.help import first_line
from hilbert.cli.frame.spellings import next_words, spellings
from hilbert.cli.terminal.output import out

_TAKING_FUNCTIONS: Final = (
    "describe", "doctor", "invoke", "logs", "ready", "remove", "restart", "scale",
    "schedules next", "schedules pause", "schedules resume", "schedules run",
)  # fmt: skip
_TAKING_NAMESPACES: Final = ("namespace delete", "namespace get", "namespace update")


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], flag("bash, zsh or fish.")] = "bash",
    /,
    *,
    named: Annotated[str, flag("Same as the argument.", "--shell")] = "",
) -> None:
    scripts: dict[str, Callable[[], str]] = {"bash": render_bash, "zsh": render_zsh, "fish": render_fish}
    render = scripts.get(named or shell)
    if render is None:
        from hilbert.cli.frame.failures import UsageError

        raise UsageError(f"--shell {named}: must be bash, zsh or fish")
    out(render().rstrip("\n"))


def render_bash() -> str:
    """A bash script; no other package is needed."""
    cases = "\n".join(f'    "{path}") words="{" ".join(words)}" ;;' for path, words in _next_words())
    functions = _patterns(*_TAKING_FUNCTIONS)
    namespaces = _patterns(*_TAKING_NAMESPACES)
    return f"""# bash completion of hilbert: source <(hilbert completion bash)
_hilbert() {{
  local path="" word words="" current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in -*) ;; *) _hilbert_words "$path" && [[ " $words " == *" $word "* ]] && path="${{path:+$path }}$word" ;; esac
  done
  _hilbert_words "$path"
  case "$previous" in
    -n|--namespace) words="$(hilbert namespaces 2>/dev/null | sed -n 's/^ - //p' | _hilbert_plain)" ;;
    --lang) words="$(hilbert new --list 2>/dev/null | sed -n 's/^- //p' | _hilbert_plain)" ;;
    *) [[ "$current" == -* ]] || words="$words $(_hilbert_names "$path")" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [[ ${{#COMPREPLY[@]}} -eq 0 ]] && COMPREPLY=($(compgen -f -- "$current"))
}}
# compgen expands what it gets: a name of a gateway must not be a command.
_hilbert_plain() {{ LC_ALL=C tr -cd 'A-Za-z0-9._\n-'; }}
_hilbert_names() {{
  local at="" n
  for ((n = 1; n < COMP_CWORD; n++)); do
    case "${{COMP_WORDS[n]}}" in -n|--namespace) at="${{COMP_WORDS[n+1]}}" ;; esac
  done
  case "$1" in
    {functions}) hilbert list -q ${{at:+-n "$at"}} 2>/dev/null | _hilbert_plain ;;
    {namespaces}) hilbert namespaces 2>/dev/null | sed -n 's/^ - //p' | _hilbert_plain ;;
  esac
}}
_hilbert_words() {{
  case "$1" in
{cases}
    *) words="" ;;
  esac
}}
complete -o filenames -F _hilbert hilbert
"""


def _patterns(*paths: str) -> str:
    """Every spelling of these commands, as a pattern of a shell's `case`."""
    found = [command for command in all_commands() if command.path in paths]
    return "|".join(f'"{" ".join(spelling)}"' for command in found for spelling in spellings(command))


def render_zsh() -> str:
    """The bash script, through zsh's own bridge to it."""
    return f"""# zsh completion of hilbert: source <(hilbert completion zsh)
autoload -Uz compinit bashcompinit
(( ${{+functions[compdef]}} )) || compinit
bashcompinit
{render_bash()}"""


def render_fish() -> str:
    """A fish script."""
    lines = ["# fish completion of hilbert: hilbert completion fish | source", "complete -c hilbert -f"]
    first = sorted({command.path.split(" ")[0] for command in all_commands()})
    for word in first:
        help_text = next((noun.help for noun in NOUNS if noun.name == word), "")
        help_text = help_text or next((first_line(c.help) for c in all_commands() if c.path == word), "")
        lines.append(f"complete -c hilbert -n __fish_use_subcommand -a {word} -d {_quoted(help_text)}")
    for page in _pages():
        *parents, last = page.command.path.split(" ")
        if parents:
            seen = f"__fish_seen_subcommand_from {parents[0]}"
            lines.append(
                f"complete -c hilbert -n {_quoted(seen)} -a {last} -d {_quoted(first_line(page.command.help))}"
            )
        seen = _seen((*parents, last))
        for entry in page.flags:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in entry.names)
            value = f" -x -a {_quoted(' '.join(entry.choices))}" if entry.choices else " -r" if entry.value else ""
            if "--namespace" in entry.names:
                value = " -x -a '(__hilbert_namespaces)'"
            elif "--lang" in entry.names:
                value = " -x -a '(__hilbert_languages)'"
            lines.append(f"complete -c hilbert -n {_quoted(seen)} {names}{value} -d {_quoted(entry.help)}")
    for paths, names in ((_TAKING_FUNCTIONS, "__hilbert_functions"), (_TAKING_NAMESPACES, "__hilbert_namespaces")):
        for command in all_commands():
            if command.path in paths:
                typed = (_quoted(_seen(spelling)) for spelling in spellings(command))
                lines += [f"complete -c hilbert -n {condition} -a '({names})'" for condition in typed]
    return "\n".join([*lines, _FISH_NAMES])


_FISH_NAMES: Final = """\
function __hilbert_functions
  set -l at
  set -l words (commandline -opc)
  for n in (seq (count $words))
    if contains -- $words[$n] -n --namespace; and test $n -lt (count $words)
      set at -n $words[(math $n + 1)]
    end
  end
  hilbert list -q $at 2>/dev/null | string match -r '^[A-Za-z0-9._-]+$'
end
function __hilbert_namespaces
  hilbert namespaces 2>/dev/null | string replace -f -r '^ - ' '' | string match -r '^[A-Za-z0-9._-]+$'
end
function __hilbert_languages
  hilbert new --list 2>/dev/null | string replace -f -r '^- ' '' | string match -r '^[A-Za-z0-9._-]+$'
end
"""


def _pages() -> list[Page]:
    return [page_of(command) for command in all_commands() if not command.hidden]


def _next_words() -> Iterable[tuple[str, list[str]]]:
    """For every path typed so far, what may follow: words, or the flags of a command."""
    for words, following in next_words().items():
        yield " ".join(words), sorted(following)
    for page in _pages():
        flags = sorted(name for entry in page.flags for name in entry.names)
        for spelling in spellings(page.command):
            yield " ".join(spelling), flags


def _seen(words: Iterable[str]) -> str:
    """Fish's condition that all these words were typed."""
    return "; and ".join(f"__fish_seen_subcommand_from {word}" for word in words)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
