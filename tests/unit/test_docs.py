"""The documentation is in step with the code: what a user can meet is written down, and every link leads somewhere."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilbert.builder import build_errors
from hilbert.cli.frame.arguments import bind
from hilbert.cli.frame.dispatch import find, load
from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.run import asked_for_help, hoist
from hilbert.client import faults
from hilbert.core import errors

ROOT = Path(__file__).resolve().parents[2]
BY_NAME = re.compile(r"(pip|pipx|uv) install (--\S+ )*['\"]?hilbert\b")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])


def subclasses(kind: type[errors.HilbertError]) -> Iterator[type[errors.HilbertError]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def test_generated_pages() -> None:
    """`make docs` would change nothing."""
    done = subprocess.run(
        [sys.executable, "tools/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


ERRORS = [
    kind for kind in subclasses(errors.HilbertError) if kind.__module__ in (errors.__name__, build_errors.__name__)
]


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if not kind.__subclasses__()])
def test_errors_are_raised(kind: type[errors.HilbertError]) -> None:
    """No error is documented that cannot happen: it is made somewhere, or the client makes it from a worker's code."""
    made = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for path in (ROOT / "src/hilbert").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    }
    told_by_workers = set(re.findall(r'"([a-z-]+)"', (ROOT / "src/hilbert/dataplane/failures.py").read_text()))
    told_by_status = {known.__name__ for known in faults._BY_STATUS.values()}
    assert kind.__name__ in made | told_by_status or kind.code in told_by_workers


@pytest.mark.parametrize("kind", ERRORS)
def test_errors(kind: type[errors.HilbertError]) -> None:
    """Every error code is in the reference."""
    assert f"`{kind.code}`" in (ROOT / "docs/reference/errors.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Every relative link leads to a file."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_blocks_name_their_language(page: Path) -> None:
    """Readers and highlighters know what a block is."""
    opening = [line for number, line in enumerate(fences(page)) if number % 2 == 0]
    drawings = [line for line in opening if line.strip() == "```"]
    assert len(drawings) <= 2, f"{page.name}: blocks without a language"


def fences(page: Path) -> list[str]:
    return [line for line in page.read_text().splitlines() if line.lstrip().startswith("```")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables(page: Path) -> None:
    """Every table has a head and rows of one width: a stray blank line or bar would break it in two."""
    rows: list[str] = []
    for line in [*re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL).splitlines(), ""]:
        if line.startswith("|"):
            rows.append(line)
        elif rows:
            assert len(rows) >= 2, f"a table of one line: {rows[0]}"
            assert re.fullmatch(r"\|(\s*:?-+:?\s*\|)+", rows[1]), f"no line below the head: {rows[0]}"
            for row in rows:
                assert cells(row) == cells(rows[0]), f"a row of another width: {row}"
            rows = []


def cells(row: str) -> int:
    return len(re.findall(r"(?<!\\)\|", row)) - 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_installation(page: Path) -> None:
    """The package is not published yet: no page tells anybody to install it by name."""
    assert not BY_NAME.search(page.read_text())


def test_installation_in_hints() -> None:
    """Nor does a hint of the command line."""
    for module in (ROOT / "src/hilbert").rglob("*.py"):
        assert not BY_NAME.search(module.read_text()), module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page: Path) -> None:
    """A path of this repository that a page names in backticks is there."""
    if page.name == "CHANGELOG.md":
        return
    for path in re.findall(r"`((?:src|tests|tools|docs|deploy|examples|bench)/[\w./-]+)`", page.read_text()):
        assert (ROOT / path).exists() or path == "bench/out/", f"{page.name} names {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_tests_exist(page: Path) -> None:
    """A test that a page names in backticks is there."""
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()):
        assert f"def {name}(" in (ROOT / path).read_text(), f"{page.name} names {path}::{name}"


def test_site(tmp_path: Path) -> None:
    """The site builds, every link and anchor in it leads somewhere, and its pages load nothing from elsewhere."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for page in ("index.html", "architecture.html", "guides/first-function.html", "reference/cli.html"):
        loaded = re.findall(
            r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"(https?:[^\"]*)", (tmp_path / page).read_text()
        )
        assert not loaded
    assert "activation" in (tmp_path / "search/search_index.json").read_text()


def test_readme_session_is_real() -> None:
    """The stack file in the README is the one in examples."""
    readme = (ROOT / "README.md").read_text()
    shown = readme.split("$ cat examples/stack.yaml\n")[1].split("\n\n$ ")[0]
    assert shown.strip() == (ROOT / "examples/stack.yaml").read_text().strip()


def test_pictures() -> None:
    """The pictures load nothing, name no path of the machine that took them, and are those that `make pictures` takes."""
    pictures = sorted((ROOT / "docs/pictures").glob("*.svg"))
    tool = (ROOT / "tools/pictures.py").read_text()
    assert pictures
    for picture in pictures:
        text = picture.read_text()
        assert f'"{picture.stem}": (' in tool
        assert not re.search(r"@font-face|@import|href=|Traceback", text)
        assert not re.search(r"/(?:home|root|tmp|work)/", text)


def commands(text: str) -> Iterator[str]:
    """The `hilbert ...` commands in the shell blocks of a page, without what a shell makes of the rest of the line."""
    for language, block in re.findall(r"```(sh|console)\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if language == "console" and not line.startswith("$ "):
                continue
            lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="();<>|&")
            lexer.whitespace_split = True
            piece: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set("();<>|&"):
                    if piece[:1] == ["hilbert"]:
                        yield shlex.join(piece)
                    piece = []
                else:
                    piece.append(word)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if list(commands(page.read_text()))], ids=lambda page: page.name
)
def test_commands(page: Path) -> None:
    """Every command in an example is one that the command line understands: its words and its flags."""
    for command in commands(page.read_text()):
        argv = hoist(shlex.split(command)[1:])
        if argv and asked_for_help(argv) is None:
            try:
                command_, words = find(argv)
                bind(load(command_), words)
            except UsageError as error:
                pytest.fail(f"{page.name}: {command}: {error}")


def test_where_is() -> None:
    """The newcomer's ten questions are answered by naming one or two files each; `test_named_files_exist` looks for them."""
    rows = re.findall(r"^\| (Where .*?\?) \|(.*)\|$", (ROOT / "docs/internals/README.md").read_text(), re.MULTILINE)
    assert len(rows) == 10
    for question, answer in rows:
        assert 1 <= len(re.findall(r"`[a-z]+/[\w./-]+`", answer)) <= 2, question
