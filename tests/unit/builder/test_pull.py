"""Pulling templates from git and from folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from hilbert.builder.build_errors import BuildFailed, InvalidTemplate, TemplateNotFound
from hilbert.builder.git import check_source
from hilbert.builder.programs import Job
from hilbert.builder.pull import pull, pull_configured, pull_missing
from hilbert.core.environment import inherited_environment
from hilbert.core.errors import NotFound
from hilbert.stack.file import StackFunction, TemplateSource
from hilbert.stack.template import Origin
from support.build import git, needs_git, repository, write

pytestmark = needs_git
ENV = inherited_environment()

ONE = {
    "template/one/template.yml": "language: one\nfprocess: first\n",
    "template/one/function/handler": "x",
    "template/two/template.yml": "language: two\n",
    "template/two/function/handler": "y",
    "README.md": "",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return repository(tmp_path / "source", ONE)


def fetch(source: str | Path, project: Path, **how: object) -> list[str]:
    return sorted(pull(str(source), project, job=Job("t"), env=ENV, **how).written)  # type: ignore[arg-type]


def test_from_a_repository(source: Path, project: Path) -> None:
    """All templates, and where they came from."""
    assert fetch(source, project) == ["one", "two"]
    assert (project / "template/one/function/handler").read_text() == "x"
    assert not (project / "template/one/.git").exists()
    origin = msgspec.json.decode((project / "template/one/meta.json").read_bytes(), type=Origin)
    assert origin.repository == str(source)
    assert origin.sha == git(source, "rev-parse", "HEAD")
    assert sorted(path.name for path in (project / "template").iterdir()) == ["one", "two"]


def test_versions(source: Path, project: Path) -> None:
    """A tag, a branch, a commit; each under the name that asks for it."""
    sha = git(source, "rev-parse", "--short", "HEAD")
    git(source, "tag", "v1")
    write(source, {"template/one/template.yml": "language: one\nfprocess: second\n"})
    git(source, "commit", "--quiet", "--all", "--message", "second")

    def process(name: str) -> str:
        return (project / "template" / name / "template.yml").read_text().split()[-1]

    assert fetch(f"file://{source}", project, only="one@v1") == ["one@v1"]
    assert process("one@v1") == "first"
    assert fetch(f"{source}#main", project, only="one") == ["one"]
    assert process("one") == "second"
    assert fetch(source, project, only=f"one@sha-{sha}") == [f"one@sha-{sha}"]
    assert process(f"one@sha-{sha}") == "first"


@pytest.mark.parametrize(
    ("ref", "message"), [("v9", "cannot fetch"), ("sha-0123456", "has no commit"), ("--x", "not the name")]
)
def test_versions_that_are_not_there(source: Path, project: Path, ref: str, message: str) -> None:
    """Nothing is written."""
    with pytest.raises((BuildFailed, InvalidTemplate), match=message):
        fetch(f"{source}#{ref}", project)
    assert not (project / "template").exists()


def test_from_a_bare_repository(source: Path, project: Path, tmp_path: Path) -> None:
    """As servers keep them."""
    git(tmp_path, "clone", "--quiet", "--bare", str(source), "bare.git")
    assert fetch(tmp_path / "bare.git", project, only="two") == ["two"]


def test_from_a_plain_folder(project: Path, tmp_path: Path) -> None:
    """Which has no versions."""
    folder = write(tmp_path / "plain", ONE)
    assert fetch(folder, project) == ["one", "two"]
    with pytest.raises(InvalidTemplate, match="has no version"):
        fetch(f"{folder}#v1", project)
    assert fetch(folder / "template" / "one", project) == ["one"]


def test_overwriting(source: Path, project: Path) -> None:
    """By default a pull replaces a template as a whole; without, it keeps it."""
    fetch(source, project)
    write(project, {"template/one/mine": "1"})
    pulled = pull(str(source), project, job=Job("t"), env=ENV, overwrite=False)
    assert pulled.written == ()
    assert sorted(pulled.kept) == ["one", "two"]
    assert (project / "template/one/mine").exists()
    fetch(source, project)
    assert not (project / "template/one/mine").exists()


@pytest.mark.parametrize(
    "kind", ["link out", "absolute link", "linked template", "linked yml", "broken yml", "path out", "bad name"]
)
def test_a_template_that_reaches_out_is_refused(source: Path, project: Path, kind: str) -> None:
    """Of a repository with one such template, none is written."""
    place = source / "template" / "one"
    match kind:
        case "link out":
            (place / "function" / "link").symlink_to("../../../../../../etc/passwd")
        case "absolute link":
            (place / "function" / "link").symlink_to("/etc/passwd")
        case "linked template":
            shutil.rmtree(place)
            place.symlink_to("/etc")
            (source / "template" / "two" / "template.yml").write_text("handler_folder: ../x\n")
        case "linked yml":
            (place / "template.yml").unlink()
            (place / "template.yml").symlink_to("../two/template.yml")
        case "broken yml":
            (place / "template.yml").write_text("language: [\n")
        case "path out":
            (place / "template.yml").write_text("handler_folder: ../../x\n")
        case "bad name":
            place.rename(source / "template" / "-rf")
    git(source, "add", "--all")
    git(source, "commit", "--quiet", "--message", "evil")
    with pytest.raises(InvalidTemplate):
        fetch(source, project)
    assert not (project / "template").exists()


def test_hooks_and_submodules_do_not_run(source: Path, project: Path, tmp_path: Path) -> None:
    """A repository cannot make the machine that pulls it do anything."""
    marker = tmp_path / "ran"
    hooks = write(tmp_path / "hooks", {"post-checkout": f"#!/bin/sh\ntouch {marker}\n"})
    (hooks / "post-checkout").chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\n\thooksPath = {hooks}\n")
    write(source, {".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = ext::sh -c touch% /tmp/x\n'})
    git(source, "add", "--all")
    git(source, "commit", "--quiet", "--message", "sub")
    pulled = pull(str(source), project, job=Job("t"), env={**ENV, "GIT_CONFIG_GLOBAL": str(config)})
    assert pulled.written
    assert not marker.exists()


@pytest.mark.parametrize("url", ["ext::sh -c id", "--upload-pack=id", "git://h/x", "ftp://h/x", "/nowhere", "a b", ""])
def test_sources_that_git_is_not_asked_for(url: str) -> None:
    """Only https, http, ssh, files and folders."""
    with pytest.raises(InvalidTemplate):
        check_source(url)


@pytest.mark.parametrize("url", ["https://h/x.git", "ssh://git@h/x", "git@example.com:team/x.git", "file:///srv/x"])
def test_sources_that_it_is(url: str) -> None:
    """As users write them."""
    assert check_source(url) == url


def test_a_server_that_is_down(project: Path) -> None:
    """The error says what git said."""
    with pytest.raises(BuildFailed, match=r"cannot fetch http://127\.0\.0\.1:1/x\.git") as caught:
        fetch("http://127.0.0.1:1/x.git", project)
    assert caught.value.log
    assert not (project / "template").exists()


def test_no_template_in_it(project: Path, tmp_path: Path) -> None:
    """And one that lacks the one that is wanted."""
    with pytest.raises(TemplateNotFound, match="holds no templates"):
        fetch(write(tmp_path / "empty", {"a": ""}), project)
    with pytest.raises(TemplateNotFound) as caught:
        fetch(write(tmp_path / "plain", ONE), project, only="three")
    assert "one, two" in caught.value.hint


def test_on_demand(source: Path, project: Path) -> None:
    """What functions need and the project lacks is pulled from where the stack file says; nothing else is."""
    functions = {
        "a": StackFunction(lang="one"),
        "b": StackFunction(lang="bash"),
        "c": StackFunction(lang="unknown", skip_build=True),
    }
    sources = [TemplateSource(name="one", source=str(source)), TemplateSource(name="two", source="/nowhere")]
    (pulled,) = pull_missing(functions, sources, project, job=Job("t"), env=ENV)
    assert pulled.written == ("one",)
    assert pull_missing(functions, sources, project, job=Job("t"), env=ENV) == []
    (again,) = pull_missing(functions, sources, project, job=Job("t"), env=ENV, overwrite=True)
    assert again.written == pulled.written
    with pytest.raises(TemplateNotFound):
        pull_missing({"d": StackFunction(lang="nope")}, sources, project, job=Job("t"), env=ENV)


def test_all_that_is_configured(source: Path, project: Path) -> None:
    """`template pull stack`."""
    sources = [TemplateSource(name=name, source=str(source)) for name in ("one", "two")]
    pulled = pull_configured(sources, project, job=Job("t"), env=ENV, overwrite=True)
    assert [found.written for found in pulled] == [("one",), ("two",)]
    with pytest.raises(NotFound):
        pull_configured([], project, job=Job("t"), env=ENV, overwrite=True)


def test_git_is_missing(source: Path, project: Path, tmp_path: Path) -> None:
    """It says what to install."""
    with pytest.raises(BuildFailed, match="git is not installed"):
        pull(str(source), project, job=Job("t"), env={**ENV, "PATH": os.fspath(tmp_path)})
