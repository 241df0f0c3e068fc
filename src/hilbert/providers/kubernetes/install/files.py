"""The files of `deploy/kubernetes`: a kustomize base with overlays, and a Helm chart, all made from `plan`. Pure.

`python -m hilbert.providers.kubernetes.install.files FOLDER` writes them; a test sees that they are in step.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from hilbert.providers.kubernetes.install import chart, monitoring, nats, plan
from hilbert.providers.kubernetes.install.yaml_text import dump as dump_one
from hilbert.providers.kubernetes.install.yaml_text import dump_each

HEADER: Final = "# Made by `python -m hilbert.providers.kubernetes.install.files deploy/kubernetes`; edit the code, not this file.\n"


def every() -> dict[str, str]:
    """Content by path."""
    wide = plan.make(plan.Options())
    split = plan.make(plan.Options(cluster_role=False))
    patch = _difference(wide.gateway, split.gateway)
    return {
        "base/kustomization.yaml": _kustomization(["namespace.yaml", "gateway.yaml"]),
        "base/namespace.yaml": dump(wide.platform),
        "base/gateway.yaml": dump(wide.gateway),
        "definitions/kustomization.yaml": _kustomization(["definitions.yaml"]),
        "definitions/definitions.yaml": dump(wide.definitions),
        "overlays/cluster-wide/kustomization.yaml": _kustomization(
            ["../../base", "../../definitions", "rights.yaml", "tenants.yaml"]
        ),
        "overlays/cluster-wide/rights.yaml": dump(wide.rights),
        "overlays/cluster-wide/tenants.yaml": dump(wide.tenants),
        "overlays/split/kustomization.yaml": _kustomization(
            ["../../base", "rights.yaml", "tenants.yaml"], patches=[{"path": "gateway.yaml"}]
        ),
        "overlays/split/rights.yaml": dump(split.rights),
        "overlays/split/tenants.yaml": dump(split.tenants),
        "overlays/split/gateway.yaml": dump([patch]),
        "components/service-monitor/kustomization.yaml": _kustomization(["monitoring.yaml"], component=True),
        "components/service-monitor/monitoring.yaml": dump(
            [
                *monitoring.objects(plan.Options().namespace),
                monitoring.policy(plan.Options().namespace, monitoring.PROMETHEUS_NAMESPACE),
            ]
        ),
        "components/nats/kustomization.yaml": _kustomization(
            ["nats.yaml"], patches=[{"path": "gateway.yaml"}], component=True
        ),
        "components/nats/nats.yaml": dump(nats.objects(plan.Options().namespace)),
        "components/nats/gateway.yaml": dump([_with_environment(wide.gateway, nats.environment())]),
        **{f"chart/{path}": text for path, text in chart.files().items()},
    }


def dump(manifests: Iterable[Mapping[str, Any]]) -> str:
    return HEADER + dump_each(manifests)


def _kustomization(
    resources: list[str], *, patches: list[dict[str, str]] | None = None, component: bool = False
) -> str:
    body: dict[str, Any] = {
        "apiVersion": f"kustomize.config.k8s.io/{'v1alpha1' if component else 'v1beta1'}",
        "kind": "Component" if component else "Kustomization",
        "resources": resources,
    }
    if patches:
        body["patches"] = patches
    return HEADER + dump_one(body)


def _difference(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, Any]:
    """A strategic merge patch of the gateway's Deployment: the environment that differs."""
    first, second = (next(item for item in group if item["kind"] == "Deployment") for group in (before, after))
    container = "template", "spec", "containers"
    old, new = (_inside(item["spec"], container)[0] for item in (first, second))
    return _with_environment(after, [entry for entry in new["env"] if entry not in old["env"]])


def _with_environment(gateway: list[dict[str, Any]], entries: list[dict[str, Any]]) -> dict[str, Any]:
    """A strategic merge patch of the gateway's Deployment: more environment."""
    (deployment,) = (item for item in gateway if item["kind"] == "Deployment")
    (container,) = _inside(deployment["spec"], ("template", "spec", "containers"))
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {key: deployment["metadata"][key] for key in ("name", "namespace")},
        "spec": {"template": {"spec": {"containers": [{"name": container["name"], "env": entries}]}}},
    }


def _inside(item: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        item = item[key]
    return item


def write(folder: Path) -> None:
    """Write all files below `folder`, and remove those that are no longer made."""
    made = every()
    for known in folder.rglob("*.*"):
        if known.is_file() and str(known.relative_to(folder)) not in made:
            known.unlink()
    for path, text in made.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
