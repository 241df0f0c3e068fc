"""The bundles that ship with Hilbert and the catalogue that lists them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

import hilbert.functions
from hilbert.core.bundle import Manifest, Mode

ROOT = Path(hilbert.functions.__file__).parent
BUNDLES = sorted(path.parent for path in ROOT.glob("*/bundle.json"))
STORE = json.loads((ROOT / "store.json").read_text())


def manifest(bundle: Path) -> Manifest:
    return msgspec.json.decode((bundle / "bundle.json").read_bytes(), type=Manifest)


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_manifest_names_what_is_there(bundle: Path) -> None:
    """Every manifest decodes strictly, has words for people, and its handler exists."""
    found = manifest(bundle)
    assert found.title
    assert found.description.endswith(".")
    assert f"hilbert/{bundle.name}" in found.images
    if found.mode is Mode.PYTHON:
        assert (bundle / found.handler).is_file()
    else:
        assert found.process


def test_no_two_bundles_claim_an_image() -> None:
    """An image name means one bundle."""
    images = [image for bundle in BUNDLES for image in manifest(bundle).images]
    assert len(images) == len(set(images))


@pytest.mark.parametrize("entry", STORE["functions"], ids=lambda entry: entry["name"])
def test_a_store_entry_resolves_to_a_bundle(entry: dict[str, object]) -> None:
    """Each image of the catalogue, without its tag, belongs to a bundle that ships."""
    known = {image for bundle in BUNDLES for image in manifest(bundle).images}
    images = entry["images"]
    assert isinstance(images, dict)
    assert set(images) == {"x86_64", "arm64", "armhf"}
    for image in images.values():
        assert image.rpartition(":")[0] in known


def test_the_store_has_its_published_names() -> None:
    """What tutorials deploy is there under the names they use."""
    names = {entry["name"] for entry in STORE["functions"]}
    assert {"nodeinfo", "env", "figlet", "cows", "shasum", "alpine", "sleep", "printer", "markdown"} <= names


def test_the_readme_lists_every_bundle() -> None:
    """The table in the README is whole."""
    text = (ROOT / "README.md").read_text()
    assert [bundle.name for bundle in BUNDLES if f"| `{bundle.name}` |" not in text] == []
