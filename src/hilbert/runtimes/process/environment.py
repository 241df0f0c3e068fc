"""The environment of a replica's watchdog: Hilbert's, the bundle's defaults and the function's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from hilbert.core.bundle import Manifest, Mode
from hilbert.core.keys import SETTABLE
from hilbert.core.model import FunctionSpec
from hilbert.core.ports import ReplicaPlan
from hilbert.runtimes.process.sandbox.contract import LISTEN, Places

_OF_IMAGES: Final = tuple(name for name, key in SETTABLE.items() if key.images)


def render_environment(plan: ReplicaPlan, manifest: Manifest, places: Places, *, python: str) -> Mapping[str, str]:
    """Later sources win: ours, the bundle's, the function's; `HILBERT_` names are never the function's."""
    spec = plan.spec
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {
        # The interpreter that the bundle's dependencies were made for comes first.
        "PATH": path if python in path.split(":") else f"{python}:{path}",
        "HOME": places.bundle,
        "LANG": "C.UTF-8",
        "TMPDIR": places.scratch,
        "HOSTNAME": plan.replica,
        **manifest.env,
    }
    if manifest.process:
        environment["fprocess"] = manifest.process
    environment.update(spec.env)
    if spec.process:
        environment["fprocess"] = spec.process
    environment |= {
        "OPENFAAS_NAME": spec.ref.name,
        "OPENFAAS_NAMESPACE": spec.ref.namespace,
        "HILBERT_LISTEN_FD": str(LISTEN),
        "HILBERT_BUNDLE": places.bundle,
        "HILBERT_MODE": _mode(manifest, spec.env.get("mode", "")),
        "HILBERT_SECRETS_DIR": places.secrets,
    }
    if manifest.handler:
        environment["HILBERT_HANDLER"] = f"{places.bundle}/{manifest.handler}"
    if places.layers:
        environment["HILBERT_LAYERS"] = ":".join(places.layers)
    return environment


def disregarded(spec: FunctionSpec, manifest: Manifest) -> Sequence[str]:
    """What has no effect on a bundle; a sentence for each."""
    found = [
        f"annotation {key}: it has no effect on a function that was built here or ships with Hilbert, only on a container image"
        for key in _OF_IMAGES
        if key in spec.annotations
    ]
    wanted = spec.env.get("mode", "")
    if wanted and wanted not in list(Mode):
        found.append(
            f"environment variable mode: {wanted[:64]} is none of {', '.join(Mode)}; the function runs as {manifest.mode.value}"
        )
    elif wanted and _mode(manifest, wanted) != wanted and not manifest.images:
        found.append(
            f"environment variable mode: {wanted} has no effect on a Python handler, which runs in the watchdog"
        )
    # What ships stands for images with a process of their own: their fprocess and mode are meant for those.
    if manifest.mode is Mode.PYTHON and not manifest.images and (spec.process or spec.env.get("fprocess")):
        found.append("fprocess: it has no effect on a Python handler, which runs in the watchdog")
    return found


def _mode(manifest: Manifest, wanted: str) -> str:
    """The function's own `mode` wins, as in OpenFaaS, unless the bundle is a handler, which has no process to run."""
    return wanted if manifest.mode is not Mode.PYTHON and wanted in list(Mode) else manifest.mode.value
