"""`images`: what there is on this machine, bundles and container images alike; what of it is removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import PLAIN, Shape, flag
from hilbert.cli.frame.parsing import seconds
from hilbert.cli.image.containers import open_store
from hilbert.cli.source.build_stack import store_path
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import columns, harmless, out
from hilbert.cli.terminal.progress import progress
from hilbert.cli.terminal.wording import age_text, count, size_text
from hilbert.core.environment import environment

if TYPE_CHECKING:
    from hilbert.builder.image_store import Store


class Listed(msgspec.Struct, frozen=True):
    """A bundle or a container image, as it is listed."""

    image: str
    namespace: str
    digest: str
    kind: str
    """`bundle` or `image`."""
    size: int
    created_at: datetime
    replicas: int | None = None
    """That use it; for container images."""
    mode: str = ""
    """Of a bundle."""
    origin: str = ""
    """Of a container image."""
    platform: str = ""
    user: str = ""
    layers: Sequence[str] = ()
    """Of a bundle."""


def list_images(*, shape: Shape = PLAIN) -> None:
    found = [
        Listed(
            one.image, one.namespace, one.digest, "bundle", one.size, one.created_at, mode=one.mode, layers=one.layers
        )
        for one in _bundles().list()
    ]
    found += [
        Listed(
            image=one.image,
            namespace=one.namespace,
            digest=one.digest,
            kind="image",
            size=one.size,
            created_at=one.created_at,
            replicas=one.replicas,
            origin=one.origin.value,
            platform=one.platform,
            user=one.user,
        )
        for one in open_store().list()
    ]
    found.sort(key=lambda one: (one.image, one.namespace, one.kind))
    if shape.format != "table":
        write_document([_document(one) for one in found], shape.format)
        return
    now = datetime.now(UTC)
    rows = [("IMAGE", "NAMESPACE", "DIGEST", "KIND", "SIZE", "REPLICAS", "SINCE")]
    for one in found:
        row = (
            one.image,
            one.namespace or "(all)",
            one.digest[7:19],
            f"{one.kind}, {one.mode or one.origin}",
            size_text(one.size),
            "-" if one.replicas is None else str(one.replicas),
            age_text((now - one.created_at).total_seconds()),
        )
        rows.append(row)
    for line in columns(rows):
        out(harmless(line))


def remove(*names: str) -> None:
    if not names:
        raise UsageError("name the images to remove", hint="see them with 'hilbert images list'")
    from hilbert.builder.build_errors import ImageNotFound
    from hilbert.core.errors import ImageUnavailable, InvalidSpec

    store = open_store()
    for name in names:
        gone = ""
        try:
            gone = _bundles().remove(name)
        except ImageNotFound as exc:
            missing = exc
        try:
            gone = store.remove(name)
        except (ImageUnavailable, InvalidSpec):
            if not gone:
                raise missing from None
        out(f"Removed: {harmless(gone)}")


def prune(
    *,
    older_than: Annotated[str, flag("Keep anything newer than this.", "--older-than")] = "1h",
) -> None:
    age = seconds(older_than, "--older-than")
    with progress("pruning once the builds and downloads under way have ended"):
        bundles = _bundles().prune(older_than=age)
        images = open_store().prune(older_than=age)
    what = f"{count(bundles.bundles, 'bundle')}, {count(images.images, 'container image')} and "
    out(f"Removed {what}{count(bundles.layers + images.layers, 'layer')}, {size_text(bundles.size + images.size)}.")


def _document(one: Listed) -> Mapping[str, object]:
    """Without the fields that the other kind has."""
    other = ("origin", "platform", "user", "replicas") if one.kind == "bundle" else ("mode", "layers")
    return {name: value for name, value in msgspec.structs.asdict(one).items() if name not in other}


def _bundles() -> Store:
    from hilbert.builder.image_store import Store

    return Store(store_path(environment()))
