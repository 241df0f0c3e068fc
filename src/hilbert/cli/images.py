"""`images`: the image store of this machine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from hilbert.cli import shapes
from hilbert.cli.building import store_path
from hilbert.cli.failures import UsageError
from hilbert.cli.options import PLAIN, Shape, flag
from hilbert.cli.terminal import columns, harmless, out, progress
from hilbert.cli.values import seconds
from hilbert.core.settings import environment

if TYPE_CHECKING:
    from hilbert.builder.store import Store


def list_images(*, shape: Shape = PLAIN) -> None:
    images = _store().list()
    if shape.format != "table":
        shapes.write(images, shape.format)
        return
    now = datetime.now(UTC)
    rows = [("IMAGE", "DIGEST", "MODE", "SIZE", "LAYERS", "BUILT")]
    for image in images:
        age = (now - image.created_at).total_seconds()
        row = (
            image.image,
            image.digest[7:19],
            image.mode,
            size_text(image.size),
            str(len(image.layers)),
            age_text(age),
        )
        rows.append(row)
    for line in columns(rows):
        out(harmless(line))


def remove(*names: str) -> None:
    if not names:
        raise UsageError("say which images to remove", hint="'hilbert images list' shows what there is")
    store = _store()
    for name in names:
        record = store.remove(name)
        out(f"Removed: {harmless(record.image)}")


def prune(
    *,
    older_than: Annotated[str, flag("Keep what is younger.", "--older-than")] = "1h",
) -> None:
    age = seconds(older_than, "--older-than")
    with progress("pruning, after the builds that are under way"):
        freed = _store().prune(older_than=age)
    out(f"Removed {freed.bundles} bundles and {freed.layers} layers, {size_text(freed.size)}.")


def size_text(size: int) -> str:
    """Bytes as people read them: `1.4 MiB`."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def age_text(age: float) -> str:
    """Seconds as people say them: `3 hours ago`."""
    for length, unit in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        if age >= length:
            count = int(age // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _store() -> Store:
    from hilbert.builder.store import Store

    return Store(store_path(environment()))
