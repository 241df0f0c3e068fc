"""What the commands from source to function write, word for word, piped and at a terminal: `sessions/*.txt`.

Digests, times and versions are masked. No gateway answers, so bundles are built; `bin/buildah` is a script that says what
it was asked for.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.build import needs_git, repository
from support.cli import scripted
from support.images import Image, file, layer
from support.sessions import Player, mask_with, name_of, sessions
from support.zygote import Zygote

SESSIONS = Path(__file__).parent / "sessions"

MASKS = (
    (re.compile(r"sha256:[0-9a-f]{64}"), "sha256:DIGEST"),
    (re.compile(r"sha256:[0-9a-f]{12}"), "sha256:DIGEST"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "DIGEST"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "DIGEST"),
    (re.compile(re.escape(str(Path(sys.executable).parent))), "BIN"),
    (re.compile(r"\b\d+\.\d\d+s\b"), "N.NNs"),
    (re.compile(r'("seconds": |seconds: )[0-9.e-]+'), r"\1N"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.0-9]*Z"), "TIME"),
    (re.compile(r'("size": )\d+'), r"\1N"),
    (re.compile(r"\d+(\.\d)? (Ki)?B\b"), "SIZE"),
    (re.compile(r"linux/(amd64|arm64)"), "PLATFORM"),
)


BUILDER = """\
#!/bin/sh
echo "buildah $*"
case "$*" in *broken*) echo "no such base" >&2; exit 1;; esac
"""


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    found = Zygote()
    yield found
    found.close()


@needs_git
@pytest.mark.parametrize(("path", "terminal"), sessions(SESSIONS), ids=name_of)
def test_session(path: Path, terminal: bool, zygote: Zygote) -> None:
    """Every byte of it, but for what cannot be the same twice."""
    with scripted(zygote) as (gateway, line):
        line.environ["OPENFAAS_URL"] = "http://127.0.0.1:1"
        repository(
            line.folder / "templates",
            {"template/mine/template.yml": "language: mine\n", "template/mine/function/x": "1"},
        )
        programs = line.folder / "bin"
        programs.mkdir()
        (programs / "buildah").write_text(BUILDER)
        (programs / "buildah").chmod(0o755)
        line.environ["PATH"] = f"{programs}:{line.environ['PATH']}"
        home = line.folder
        line.folder = home / "code"
        line.folder.mkdir()
        Image(layer(file("bin/web", b"x" * 5000, mode=0o755))).write_layout(line.folder / "layout", "web:1")

        def mask(text: str) -> str:
            text = mask_with(MASKS)(text)
            # The width of a column follows from what is masked.
            text = re.sub(r"^.*SIZE.*$", lambda row: re.sub(" {2,}", "  ", row[0]), text, flags=re.MULTILINE)
            return text.replace(str(home), "HOME")

        Player(line, gateway, terminal=terminal, mask=mask).check(path)
