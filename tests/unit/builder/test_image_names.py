"""Image names and tags."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilbert.builder.build_errors import InvalidHandler
from hilbert.builder.image_names import check_image, split_tag, tagged, with_tag
from hilbert.core.environment import inherited_environment
from hilbert.core.errors import InvalidStack
from support.build import git, needs_git, repository

ENV = inherited_environment()


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("web", "web:latest"),
        ("web:1.0", "web:1.0"),
        ("host:5000/a/web", "host:5000/a/web:latest"),
        ("host:5000/web:2", "host:5000/web:2"),
    ],
)
def test_with_tag(image: str, wanted: str) -> None:
    """A port is no tag."""
    assert with_tag(image) == wanted
    assert ":".join(split_tag(image)) == wanted


@pytest.mark.parametrize(
    "image", ["web", "a/b/c:1", "reg.example.com:5000/team/web:1.0-rc.1", "[::1]:5000/web", "a__b/c-d.e"]
)
def test_names_of_images(image: str) -> None:
    """What registries take is taken."""
    assert check_image(image, function="f") == image


@pytest.mark.parametrize(
    "image",
    [
        "",
        "Web",
        "web:",
        "-web",
        "web:a b",
        "a//b",
        "../x",
        "web@sha256:" + "0" * 64,
        "--privileged",
        "x" * 600,
        "a:b:c",
    ],
)
def test_what_is_no_name(image: str) -> None:
    """What a builder might take for a flag, a path or something else is refused."""
    with pytest.raises(InvalidStack) as caught:
        check_image(image, function="f")
    assert caught.value.hint


@needs_git
def test_tags_from_git(tmp_path: Path) -> None:
    """`sha`, `branch` and `describe` follow OpenFaaS's forms."""
    project = repository(tmp_path / "p", {"f/handler.py": "x = 1\n"})
    sha = git(project, "rev-parse", "--short", "HEAD")

    def tag(form: str, image: str = "reg.example.com/web:1.0") -> str:
        return tagged(image, form, handler=project / "f", project=project, env=ENV)  # type: ignore[arg-type]

    assert tag("latest", "web") == "web:latest"
    assert tag("sha") == f"reg.example.com/web:1.0-{sha}"
    assert tag("branch", "web") == f"web:latest-main-{sha}"
    assert tag("describe") == f"reg.example.com/web:1.0-{sha}"
    git(project, "tag", "v3")
    assert tag("describe") == "reg.example.com/web:1.0-v3"
    git(project, "switch", "--quiet", "--create", "feature/x")
    assert tag("branch") == f"reg.example.com/web:1.0-feature-x-{sha}"


@needs_git
def test_tags_from_git_need_a_repository(tmp_path: Path) -> None:
    """Outside one, the error says so."""
    env = {**ENV, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    with pytest.raises(InvalidHandler, match="needs a git repository"):
        tagged("web", "sha", handler=tmp_path, project=tmp_path, env=env)


def test_tag_from_the_handler(tmp_path: Path) -> None:
    """`digest` changes with the handler's content and with nothing else."""
    (tmp_path / "handler.py").write_text("one")

    def tag() -> str:
        return tagged("web:1.0", "digest", handler=tmp_path, project=tmp_path, env=ENV)

    first = tag()
    name, _, digest = first.partition(":")
    assert name == "web"
    assert len(digest) == 32
    (tmp_path / "handler.py").touch()
    assert tag() == first
    (tmp_path / "handler.py").write_text("two")
    assert tag() != first
