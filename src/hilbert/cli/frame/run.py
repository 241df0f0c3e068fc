"""Running one command line: from its words to an exit status.

0 done, 1 failed, 2 written wrongly, 3 the platform could not start, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Final

from hilbert import __version__

FAILURE: Final = 1
USAGE: Final = 2
START_FAILED: Final = 3
INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 141

_HOISTED: Final = {
    "-f": 1, "--yaml": 1, "--filter": 1, "--regex": 1,
    "-g": 1, "--gateway": 1, "-k": 1, "--token": 1, "-n": 1, "--namespace": 1, "--tls-no-verify": 0,
}  # fmt: skip
"""Flags that may stand before the command, with the number of words that follow each."""


def run(argv: Sequence[str]) -> int:
    """Run `hilbert ARGV...`; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # A character that the terminal lacks is no reason to fail.
    try:
        status = _run(hoist(argv))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has gone, e.g. `| head`. What is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def hoist(argv: Sequence[str]) -> list[str]:
    """Move flags that stand before the command behind it, where the commands look for them."""
    words, moved = list(argv), []
    while words and words[0].startswith("-"):
        name, equals, _ = words[0].partition("=")
        if name not in _HOISTED:
            break
        count = 1 if equals else 1 + _HOISTED[name]
        moved += words[:count]
        del words[:count]
    end = words.index("--") if "--" in words else len(words)
    return [*words[:end], *moved, *words[end:]]


def asked_for_help(argv: list[str]) -> list[str] | None:
    """The words whose help is wanted; None if the command is to be run."""
    before = argv[: argv.index("--")] if "--" in argv else argv
    if argv[:1] == ["help"]:
        return argv[1:]
    if "--help" in before or "-h" in before:
        return [word for word in before if not word.startswith("-")]
    if len(argv) <= 2:
        from hilbert.cli.frame.commands import find_noun

        if not argv or find_noun(" ".join(argv)) is not None:
            return argv
    return None


def _run(argv: list[str]) -> int:
    if argv == ["--version"]:
        sys.stdout.write(f"{__version__}\n")
        return 0
    if argv and not argv[0].startswith("-"):
        from hilbert.cli.frame.plugins import become, find_plugin
        from hilbert.core.environment import environment

        if (plugin := find_plugin(argv, environment())) is not None:
            return become(plugin, argv[1:], environment())
    if (words := asked_for_help(argv)) is not None:
        from hilbert.cli.frame.help import render_help

        if (text := render_help(words)) is not None:
            sys.stdout.write(text)
            return 0

    from hilbert.cli.frame.dispatch import dispatch
    from hilbert.cli.terminal.output import fail
    from hilbert.core.environment import environment
    from hilbert.core.errors import HilbertError

    try:
        status = dispatch(argv)
    except HilbertError as exc:
        from hilbert.cli.frame.failures import StartFailed, UsageError, hint_of

        fail(exc.message, hint_of(exc))
        if isinstance(exc, StartFailed):
            return START_FAILED
        return USAGE if isinstance(exc, UsageError) else FAILURE
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as exc:
        if environment().get("FAAS_DEBUG") == "1":
            raise
        text = f"{type(exc).__name__}: {exc}"
        fail(f"this is a bug in hilbert: {text}", "set FAAS_DEBUG=1 to see the traceback, and please report it")
        return FAILURE
    return status if isinstance(status, int) else 0
