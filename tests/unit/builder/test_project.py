"""Beginning a function, and what a stack's function asks to be built."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hilbert.builder import project as project_module
from hilbert.builder.build_errors import InvalidHandler
from hilbert.builder.build_request import BuildFlags, request_for, truthy
from hilbert.builder.project import Begun, begin_function
from hilbert.builder.templates import find_template
from hilbert.core.errors import AlreadyExists, HilbertError, InvalidStack, StorageFull
from hilbert.stack.file import Configuration, Stack, StackFunction, parse_stack
from support.build import write


def begin(folder: Path, name: str = "hello", handler: str = "", *, must_exist: bool = False) -> Begun:
    function = StackFunction(lang="python3-http", handler=handler or f"./{name}", image=f"{name}:latest")
    return begin_function(
        name,
        function,
        find_template("python3-http", folder),
        project=folder,
        stack_file="stack.yaml",
        must_exist=must_exist,
        gateway="http://127.0.0.1:8080",
    )


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_folder_stack_file_and_ignored_files(tmp_path: Path) -> None:
    """What the template begins with, an entry, and what git should not keep."""
    write(tmp_path, {".gitignore": "*.log\n/build/"})
    assert not begin(tmp_path).appended
    assert (tmp_path / "hello" / "handler.py").is_file()
    assert parse_stack((tmp_path / "stack.yaml").read_text()).functions["hello"].lang == "python3-http"
    assert (tmp_path / ".gitignore").read_text() == "*.log\n/build/\ntemplate\n.secrets\n"
    assert begin(tmp_path, "second", "src/second").appended
    assert (tmp_path / "src" / "second" / "handler.py").is_file()
    assert list(parse_stack((tmp_path / "stack.yaml").read_text()).functions) == ["hello", "second"]


@pytest.mark.parametrize("what", ["folder there", "name taken", "broken stack", "outside", "append to nothing"])
def test_nothing_is_written_unless_all_is(tmp_path: Path, what: str) -> None:
    """Every refusal leaves the folder as it was."""
    match what:
        case "folder there":
            write(tmp_path, {"hello/mine": "1"})
        case "name taken":
            write(tmp_path, {"stack.yaml": "functions:\n  hello: {}\n"})
        case "broken stack":
            write(tmp_path, {"stack.yaml": "functions: [\n"})
    before = names(tmp_path)
    with pytest.raises((AlreadyExists, InvalidStack, InvalidHandler)):
        begin(tmp_path, handler="../out" if what == "outside" else "", must_exist=what == "append to nothing")
    assert names(tmp_path) == before


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the handler's folder."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(project_module, "write_file", full)
    with pytest.raises(StorageFull):
        begin(tmp_path)
    assert names(tmp_path) == []


FLAGS = BuildFlags(build_args={"A": "flag"}, build_options=("x",), copies=("common",), platforms="")


def ask(folder: Path, function: StackFunction, configuration: Configuration) -> object:
    stack = Stack(functions={"f": function}, configuration=configuration)
    return request_for("f", function, stack, FLAGS, project=folder)


def test_flags_lie_over_the_file(tmp_path: Path) -> None:
    """Build arguments and options of both; copies of both."""
    write(tmp_path, {"f/handler.py": "", "common/x": "", "more/y": "", "pip.conf": ""})
    function = StackFunction(
        lang="l",
        handler="./f",
        image="f",
        build_args={"A": "file", "B": "file"},
        build_options=("y",),
        build_secrets={"pip": "./pip.conf"},
        platforms="linux/arm64",
    )
    request = request_for("f", function, Stack(configuration=Configuration(copy=("more",))), FLAGS, project=tmp_path)
    assert request.build_args == {"A": "flag", "B": "file"}
    assert request.build_options == ("y", "x")
    assert request.copies == ("more", "common")
    assert request.build_secrets == {"pip": tmp_path / "pip.conf"}
    assert request.platforms == "linux/arm64"


@pytest.mark.parametrize(
    ("function", "copies", "message"),
    [
        (StackFunction(handler="./f", image="f"), (), "has no lang"),
        (StackFunction(lang="l", image="f"), (), "has no handler"),
        (StackFunction(lang="l", handler="./gone", image="f"), (), "the handler's folder ./gone is not there"),
        (StackFunction(lang="l", handler="./f"), (), "has no image to build"),
        (StackFunction(lang="l", handler="./f", image="F:1"), (), "is not an image's name"),
        (StackFunction(lang="l", handler="./f", image="f"), ("../x",), "is not inside the project"),
        (StackFunction(lang="l", handler="./f", image="f"), ("/etc",), "is not inside the project"),
        (StackFunction(lang="l", handler="./f", image="f"), ("out",), "is not inside the project"),
        (StackFunction(lang="l", handler="./f", image="f"), ("nope",), "is not there"),
        (StackFunction(lang="l", handler="./f", image="f", build_secrets={"a": "nope"}), (), "no file"),
        (StackFunction(lang="l", handler="./f", image="f", build_secrets={"a,b": "f/x"}), (), "must be letters"),
    ],
)
def test_what_cannot_be_built(tmp_path: Path, function: StackFunction, copies: tuple[str, ...], message: str) -> None:
    """Told before anything is begun, with the function's name or key, and what to do."""
    write(tmp_path, {"f/x": "", "common/x": ""})
    (tmp_path / "out").symlink_to("/etc")
    with pytest.raises(HilbertError) as caught:
        ask(tmp_path, function, Configuration(copy=copies))
    assert message in caught.value.message


def test_truthy() -> None:
    """Build arguments are text."""
    assert truthy({"A": "True"}, "A", default=False)
    assert not truthy({"A": "false"}, "A", default=True)
    assert truthy({}, "A", default=True)
