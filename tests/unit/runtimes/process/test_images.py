"""What an image name means."""

from __future__ import annotations

import hashlib
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from hilbert.core.bundle import ImageRecord, Manifest, Mode, index_name
from hilbert.core.errors import ImageUnavailable
from hilbert.runtimes.process.images import ABSENT_MOST, ImageStore, open_to_others, open_way

DIGEST = "sha256:" + "ab" * 32
LAYER = "sha256:" + "cd" * 32


def bundle(folder: Path, **manifest: object) -> Path:
    folder.mkdir(parents=True)
    fields = {"mode": Mode.STREAMING, **manifest}
    (folder / "bundle.json").write_bytes(msgspec.json.encode(Manifest(**fields)))  # type: ignore[arg-type]
    return folder


def build(images: Path, name: str, *, digest: str = DIGEST, **manifest: object) -> None:
    """As `hilbert build` stores it."""
    if not (images / "bundles" / digest[7:]).exists():
        bundle(images / "bundles" / digest[7:], **manifest)
    record = ImageRecord(image=name, digest=digest, created_at=datetime.now(UTC))
    (images / "index").mkdir(exist_ok=True)
    file = images / "index" / f"{hashlib.sha256(name.encode()).hexdigest()}.json"
    file.write_bytes(msgspec.json.encode(record))


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    bundle(tmp_path / "shipped" / "figlet", images=("ghcr.io/openfaas/figlet", "functions/figlet"))
    return ImageStore(tmp_path / "images", shipped=tmp_path / "shipped")


@pytest.mark.parametrize(
    "image",
    [
        "functions/figlet",
        "functions/figlet:latest",
        "functions/figlet:0.9",
        "docker.io/functions/figlet:latest",
        "ghcr.io/openfaas/figlet:latest",
    ],
)
def test_a_shipped_function_is_found_by_its_names_with_any_tag(store: ImageStore, image: str) -> None:
    assert store.find(image, "dev").path == store.shipped / "figlet"


@pytest.mark.parametrize(
    "image",
    ["figlet", "functions/figlet@" + DIGEST, "example.com/functions/figlet", "nginx:1.27", "", "../figlet", "a:b:c"],
)
def test_other_images_are_refused_with_the_providers_that_could_run_them(store: ImageStore, image: str) -> None:
    with pytest.raises(ImageUnavailable) as caught:
        store.find(image, "dev")
    assert "kubernetes provider" in caught.value.hint


def test_a_built_bundle_comes_before_a_shipped_one(store: ImageStore) -> None:
    build(store.path, "functions/figlet:latest")
    found = store.find("functions/figlet", "dev")
    assert found.path == store.path / "bundles" / DIGEST[7:]
    assert found.pin == DIGEST
    assert store.find("functions/figlet:0.9", "dev").path == store.shipped / "figlet", "another tag is another image"


def test_a_name_that_was_not_there_is_found_once_it_is_built(store: ImageStore) -> None:
    """Whether the folder of names had been quiet for long, or was just changed."""
    build(store.path, "me/other")
    index = store.path / "index"
    for quiet in (3600, 0):
        then = time.time() - quiet
        os.utime(index, (then, then))
        for _ in range(2):
            with pytest.raises(ImageUnavailable):
                store.find(f"me/f{quiet}", "dev")
        build(store.path, f"me/f{quiet}")
        assert store.find(f"me/f{quiet}", "dev").pin == DIGEST


@pytest.mark.bound("image-absent")
def test_names_that_are_not_there_are_remembered_within_a_bound(store: ImageStore) -> None:
    build(store.path, "me/other")
    os.utime(store.path / "index", (1, 1))
    for number in range(5000):
        with pytest.raises(ImageUnavailable):
            store.find(f"me/f{number}", "dev")
    assert len(store._absent) <= ABSENT_MOST


def test_no_tag_is_latest_both_ways(store: ImageStore) -> None:
    build(store.path, "registry.local:5000/me/f")
    assert store.find("registry.local:5000/me/f:latest", "dev").pin == DIGEST
    build(store.path, "me/g:latest")
    assert store.find("me/g", "dev").pin == DIGEST
    with pytest.raises(ImageUnavailable):
        store.find("me/g:1", "dev")


def test_a_new_build_under_the_same_name_has_another_pin(store: ImageStore) -> None:
    build(store.path, "me/f:latest")
    before = store.find("me/f", "dev").pin
    build(store.path, "me/f:latest", digest="sha256:" + "ef" * 32)
    assert store.find("me/f", "dev").pin != before


def test_layers_are_found_in_order_and_missing_ones_are_said(store: ImageStore) -> None:
    build(store.path, "me/f", layers=(LAYER,))
    with pytest.raises(ImageUnavailable, match="damaged"):
        store.find("me/f", "dev")
    (store.path / "layers" / LAYER[7:]).mkdir(parents=True)
    assert store.find("me/f", "dev").layers == (store.path / "layers" / LAYER[7:],)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b'{"image":"x","digest":"../../etc","created_at":"2024-01-01T00:00:00Z"}']
)
def test_a_damaged_index_is_an_error_and_never_another_path(store: ImageStore, content: bytes) -> None:
    build(store.path, "me/f")
    next((store.path / "index").iterdir()).write_bytes(content)
    with pytest.raises(ImageUnavailable, match="damaged"):
        store.find("me/f", "dev")


def test_opening_to_others_reaches_everything_and_follows_no_link(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    (folder / "inner").mkdir(parents=True, mode=0o700)
    (folder / "inner" / "file").write_text("x")
    (folder / "inner" / "file").chmod(0o600)
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o600)
    (folder / "link").symlink_to(outside)
    folder.chmod(0o700)
    open_to_others(folder)
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / "inner", folder / "inner" / "file")] == [
        0o755,
        0o755,
        0o644,
    ]
    assert outside.stat().st_mode & 0o777 == 0o600


def test_an_image_belongs_to_the_namespace_that_it_was_built_for(store: ImageStore) -> None:
    """S17: to another it is as one that does not exist, to the letter; what is shared or shipped is everybody's.

    Known from CVE-2026-49823, CVE-2026-49824 and CVE-2026-49821 (Fission).
    """
    for namespace, digit in (("dev", "a"), ("ops", "b"), ("", "c")):
        digest = "sha256:" + digit * 64
        bundle = store.path / "bundles" / digest[7:]
        bundle.mkdir(parents=True)
        (bundle / "bundle.json").write_bytes(msgspec.json.encode(Manifest(mode=Mode.STATIC)))
        image = "me/shared:latest" if not namespace else "me/own:latest"
        record = ImageRecord(image=image, namespace=namespace, digest=digest, created_at=datetime.now(UTC))
        (store.path / "index").mkdir(parents=True, exist_ok=True)
        (store.path / "index" / f"{index_name(image, namespace)}.json").write_bytes(msgspec.json.encode(record))
    assert store.find("me/own", "dev").pin.endswith("a" * 64)
    assert store.find("me/own:latest", "ops").pin.endswith("b" * 64)
    assert store.find("me/shared", "dev").pin == store.find("me/shared", "strangers").pin
    assert store.find("functions/figlet", "strangers").path == store.shipped / "figlet"
    with pytest.raises(ImageUnavailable) as theirs:
        store.find("me/own:latest", "strangers")
    with pytest.raises(ImageUnavailable) as nobodys:
        store.find("me/none:latest", "strangers")
    assert theirs.value.message.replace("own", "none") == nobodys.value.message
    assert (theirs.value.detail, theirs.value.hint) == (nobodys.value.detail, nobodys.value.hint)
    store.forget("dev")
    with pytest.raises(ImageUnavailable):
        store.find("me/own", "dev")
    assert store.find("me/own:latest", "ops").pin.endswith("b" * 64)
    assert store.find("me/shared", "dev").pin.endswith("c" * 64)


def test_the_way_to_a_bundle_is_opened_without_a_look_at_others(tmp_path: Path) -> None:
    """S19: what a build made with mode 0700 is reached by the namespace's user, and cannot be listed."""
    images = tmp_path / "state" / "images"
    bundle = images / "bundles" / "abc"
    bundle.mkdir(parents=True)
    for folder in (tmp_path / "state", images, images / "bundles"):
        folder.chmod(0o700)
    open_way(bundle, top=images)
    open_way(bundle, top=images)
    modes = {folder.name: folder.stat().st_mode & 0o777 for folder in (images, images / "bundles", tmp_path / "state")}
    assert modes == {"images": 0o711, "bundles": 0o711, "state": 0o700}
