"""From the builder's own storage straight into the store of images that this machine runs functions from: no registry between."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hilbert.builder.build_errors import BuildFailed
from hilbert.builder.build_request import BuildRequest
from hilbert.builder.container import Builder
from hilbert.builder.image_store import Store
from hilbert.builder.programs import Job
from hilbert.core.errors import ImageUnavailable
from hilbert.images.records import Origin
from hilbert.images.store import OciStore


def keep_image(
    request: BuildRequest, *, builder: Builder, images: OciStore, bundles: Store, job: Job, env: Mapping[str, str]
) -> tuple[str, bool]:
    """Let the image that was built be found in its namespace; its digest, and whether the name meant another before.

    A bundle that has the name there gives it up: it would be found first. Raises `BuildFailed` and `StorageFull`.
    """
    job.begin("storing")
    before = images.find(request.image, request.namespace)
    with tempfile.TemporaryDirectory(prefix="hilbert-image-", dir=env.get("TMPDIR")) as folder:
        target = Path(folder) / "image"
        argv = {
            "docker": ["docker", "save", "--output", str(target), request.image],
            "podman": ["podman", "save", "--quiet", "--uncompressed", "--format", "oci-dir", "--output", str(target), request.image],
            "buildah": ["buildah", "push", "--quiet", "--disable-compression", request.image, f"oci:{target}"],
        }[builder.program]  # fmt: skip
        if job.run(argv, cwd=request.project, env=env) != 0:
            raise BuildFailed(f"function {request.name}: {builder.name} could not write the image", log=job.tail())
        try:
            # The store of one thread's event loop, for as long as it lives.
            (brought,) = asyncio.run(images.load(target, request.namespace, name=request.image, origin=Origin.BUILT))
        except ImageUnavailable as exc:
            raise BuildFailed(f"function {request.name}: {exc.message}", hint=exc.hint, log=job.tail()) from exc
    bundles.give_up(request.image, namespace=request.namespace)
    return brought.digest, before is None or before.digest != brought.digest
