"""Whether a live object still says what we rendered. Pure.

The API server fills in defaults and others may own fields of their own, so that what we rendered must be *contained* in
what is there. Fields that an older rendering had and the present one has not are seen by the digest in an annotation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hilbert.core.errors import HilbertError
from hilbert.core.values import Quantity
from hilbert.providers.kubernetes.cluster.objects import Deployment, Manifest, Service

_KEYS: Final = ("name", "containerPort", "port", "uid")
"""What tells the entries of a list apart, by preference."""


def is_in_step(manifest: Manifest, live: Deployment | Service) -> bool:
    """True when applying `manifest` would change nothing of it."""
    metadata = manifest["metadata"]
    owners = {owner["uid"] for owner in metadata["ownerReferences"]}
    return (
        contains(metadata["labels"], live.labels)
        and contains(metadata["annotations"], live.annotations)
        and owners <= {owner.uid for owner in live.metadata.owner_references or ()}
        and contains(manifest["spec"], msgspec.json.decode(live.spec))
    )


def contains(want: Any, have: Any) -> bool:
    """Whether `have` says everything that `want` says, in Kubernetes' sense of saying."""
    if isinstance(want, Mapping):
        if not isinstance(have, Mapping):
            return not want
        return all(contains(value, have.get(key)) for key, value in want.items())
    if isinstance(want, Sequence) and not isinstance(want, str):
        return _contains_list(want, have)
    if have is None:
        return not want  # The API server leaves out zeros and empty texts.
    return want == have or _is_same_amount(want, have)


def _contains_list(want: Sequence[Any], have: Any) -> bool:
    if not isinstance(have, Sequence) or isinstance(have, str):
        return not want
    key = next((key for key in _KEYS if _tells_apart(key, want)), None)
    if key is not None:
        by_key = {item.get(key): item for item in have if isinstance(item, Mapping)}
        return all(contains(item, by_key.get(item[key])) for item in want)
    return len(want) == len(have) and all(contains(w, h) for w, h in zip(want, have, strict=True))


def _tells_apart(key: str, entries: Sequence[Any]) -> bool:
    """Port 53 is there for both UDP and TCP, and tells nothing apart then."""
    found = [entry.get(key) for entry in entries if isinstance(entry, Mapping)]
    return bool(found) and None not in found and len(set(map(str, found))) == len(entries)


def _is_same_amount(want: Any, have: Any) -> bool:
    """`0.5` is stored as `500m`."""
    try:
        return Quantity.parse(str(want)).amount == Quantity.parse(str(have)).amount
    except HilbertError:
        return False
