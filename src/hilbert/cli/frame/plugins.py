"""Plug-ins of OpenFaaS's command line: executables in `~/.openfaas/plugins`, run for commands that Hilbert does not have."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from hilbert.cli.frame.spellings import next_words
from hilbert.cli.terminal.output import fail

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def find_plugin(argv: Sequence[str], environ: Mapping[str, str]) -> Path | None:
    """The plug-in that the first word names. Hilbert's own commands come first: nothing takes their place unseen."""
    if not argv or not _NAME.fullmatch(argv[0]) or not environ.get("HOME"):
        return None
    path = Path(environ["HOME"]) / ".openfaas" / "plugins" / argv[0]
    if not path.is_file() or not os.access(path, os.X_OK):
        return None
    return None if argv[0] == "help" or argv[0] in next_words()[()] else path


def become(plugin: Path, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run it in place of this process, with the words behind its name; an exit status if that cannot be."""
    try:
        os.execve(plugin, [str(plugin), *argv], dict(environ))  # noqa: S606 - no shell wanted
    except OSError as exc:
        fail(f"cannot run the plug-in {plugin}: {exc.strerror}", "was it built for this kind of machine?")
    return 1
