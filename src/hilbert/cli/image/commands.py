"""`images`: the image store of this machine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import PLAIN, Shape, flag
from hilbert.cli.frame.parsing import seconds
from hilbert.cli.source.build_stack import store_path
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import columns, harmless, out
from hilbert.cli.terminal.progress import progress
from hilbert.cli.terminal.wording import age_text, count, size_text
from hilbert.core.settings import environment

if TYPE_CHECKING:
    from hilbert.builder.image_store import Store


def list_images(*, shape: Shape = PLAIN) -> None:
    images = _store().list()
    if shape.format != "table":
        write_document(images, shape.format)
        return
    now = datetime.now(UTC)
    rows = [("IMAGE", "NAMESPACE", "DIGEST", "MODE", "SIZE", "LAYERS", "BUILT")]
    for image in images:
        age = (now - image.created_at).total_seconds()
        row = (
            image.image,
            image.namespace or "(all)",
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
        raise UsageError("name the images to remove", hint="see them with 'hilbert images list'")
    store = _store()
    for name in names:
        out(f"Removed: {harmless(store.remove(name))}")


def prune(
    *,
    older_than: Annotated[str, flag("Keep anything newer than this.", "--older-than")] = "1h",
) -> None:
    age = seconds(older_than, "--older-than")
    with progress("pruning, after the builds that are under way"):
        freed = _store().prune(older_than=age)
    out(f"Removed {count(freed.bundles, 'bundle')} and {count(freed.layers, 'layer')}, {size_text(freed.size)}.")


def _store() -> Store:
    from hilbert.builder.image_store import Store

    return Store(store_path(environment()))
