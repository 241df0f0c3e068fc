"""Finding templates."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilbert.builder.build_errors import InvalidTemplate, TemplateNotFound
from hilbert.builder.templates import (
    check_templates,
    find_in_store,
    find_template,
    local_templates,
    packages_for,
    parse_store,
    recipe_of,
    shipped_store,
    shipped_templates,
    split_lang,
)
from support.build import write

SHIPPED_NAMES = {
    *("python3-http", "python3-flask", "python3", "python3-asgi", "node22", "node20", "node18", "bash", "dockerfile"),
}


def test_shipped_templates_are_complete() -> None:
    """Each has a handler, a README, a Dockerfile and a note on what to edit; all but one become bundles, with tests."""
    found = {located.name: located for located in shipped_templates()}
    assert set(found) == SHIPPED_NAMES
    for name, located in found.items():
        assert located.handler.is_dir(), name
        assert "Edit" in located.template.welcome_message
        assert "Edit" in (located.folder / "README.md").read_text()
        assert (located.folders[0] / ("function" if name == "dockerfile" else "") / "Dockerfile").is_file()
        assert name in (located.folder.parent / "README.md").read_text()
        if name != "dockerfile":
            recipe = recipe_of(located)
            assert recipe.test
            assert any(next(located.handler.glob(pattern), None) for pattern in recipe.tests)


def test_the_projects_own_wins(tmp_path: Path) -> None:
    """Under the same name."""
    write(tmp_path, {"template/bash/template.yml": "language: bash\nfprocess: mine\n"})
    assert find_template("bash", tmp_path).template.fprocess == "mine"
    assert not find_template("bash", tmp_path).shipped
    assert [located.name for located in local_templates(tmp_path)] == ["bash"]


def test_versions_have_folders_of_their_own(tmp_path: Path) -> None:
    """A pinned version never falls back to another."""
    write(tmp_path, {"template/bash@v1/template.yml": "fprocess: one\n"})
    assert find_template("bash@v1", tmp_path).template.fprocess == "one"
    with pytest.raises(TemplateNotFound) as caught:
        find_template("bash@v2", tmp_path)
    assert "template store pull bash@v2" in caught.value.hint


def test_names_of_openfaas_are_understood(tmp_path: Path) -> None:
    """Their handlers run on ours."""
    assert find_template("python3-http-debian", tmp_path).folder.name == "python3-http"
    assert find_template("python3-flask-debian", tmp_path).folder.name == "python3-flask"
    assert find_template("node16", tmp_path).folder.name == "node18"
    assert find_template("Dockerfile", tmp_path).folder.name == "dockerfile"


@pytest.mark.parametrize(
    ("lang", "hint"),
    [
        ("pythn3-http", "did you mean python3-http?"),
        ("cobol", "template store pull cobol"),
        ("rust-http", "template store pull rust-http"),
    ],
)
def test_unknown_ones_suggest(tmp_path: Path, lang: str, hint: str) -> None:
    """The nearest, or where to look."""
    with pytest.raises(TemplateNotFound) as caught:
        find_template(lang, tmp_path)
    assert hint in caught.value.hint


@pytest.mark.parametrize("lang", ["../x", "a/b", "", "-x", "a@../b", "a@", ".x"])
def test_what_is_no_name(lang: str) -> None:
    """A name becomes a path."""
    with pytest.raises(InvalidTemplate):
        split_lang(lang)


def test_broken_ones_are_told(tmp_path: Path) -> None:
    """With the file, and the line where there is one."""
    write(tmp_path, {"template/a/template.yml": "language: [", "template/b/x": ""})
    with pytest.raises(InvalidTemplate, match=r"a/template\.yml:2: not YAML"):
        find_template("a", tmp_path)
    with pytest.raises(InvalidTemplate, match=r"has no template\.yml"):
        find_template("b", tmp_path)
    assert local_templates(tmp_path) == []


def test_templates_for_images_only(tmp_path: Path) -> None:
    """Those of OpenFaaS say nothing of bundles."""
    write(tmp_path, {"template/go/template.yml": "fprocess: ./handler\n"})
    with pytest.raises(InvalidTemplate, match="only how to build a container image"):
        recipe_of(find_template("go", tmp_path))


def test_build_options(tmp_path: Path) -> None:
    """Their packages joined, each once."""
    options = "build_options:\n- {name: a, packages: [x, y]}\n- {name: b, packages: [y, z]}\n"
    write(tmp_path, {"template/t/template.yml": options})
    located = find_template("t", tmp_path)
    assert packages_for(located, ["a", "b"]) == ["x", "y", "z"]
    with pytest.raises(InvalidTemplate) as caught:
        packages_for(located, ["c"])
    assert "it has a, b" in caught.value.hint


def test_the_store() -> None:
    """Ours come first; others name a repository; unknown ones suggest."""
    catalogue = shipped_store()
    assert {entry.template for entry in catalogue if not entry.repo} == {
        located.name for located in shipped_templates()
    }
    assert find_in_store(catalogue, "python3-http").source == "hilbert"
    assert find_in_store(catalogue, "openfaas/python3-http").repo
    with pytest.raises(TemplateNotFound) as caught:
        find_in_store(catalogue, "golang-midleware")
    assert "golang-middleware" in caught.value.hint
    with pytest.raises(InvalidTemplate, match="is not a template store"):
        parse_store(b'{"a": 1}', name="x")


def test_all_that_are_missing_are_named_at_once(tmp_path: Path) -> None:
    """With the command that gets each; a name that the store has is not taken for a slip of another."""
    with pytest.raises(TemplateNotFound) as caught:
        check_templates(["python3-http", "php8", "ruby-http", "pythn3-http"], tmp_path)
    assert caught.value.message == "there are no templates php8, ruby-http, pythn3-http"
    assert "php8: run 'hilbert template store pull php8'" in caught.value.hint
    assert "ruby-http: run 'hilbert template store pull ruby-http'" in caught.value.hint
    assert "pythn3-http: did you mean python3-http?" in caught.value.hint
