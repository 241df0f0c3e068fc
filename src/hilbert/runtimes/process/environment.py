"""The environment of a replica's watchdog: Hilbert's, the bundle's defaults and the function's own."""

from __future__ import annotations

from collections.abc import Mapping

from hilbert.core.bundle import Manifest, Mode
from hilbert.core.ports import ReplicaPlan
from hilbert.runtimes.process.sandbox.contract import LISTEN, Places


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


def _mode(manifest: Manifest, wanted: str) -> str:
    """The function's own `mode` wins, as in OpenFaaS, unless the bundle is a handler, which has no process to run."""
    return wanted if manifest.mode is not Mode.PYTHON and wanted in list(Mode) else manifest.mode.value
