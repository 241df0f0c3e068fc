"""Helm itself, as a program of its own: `python -m support.helm VERB CHART [VALUES]` (with `tests` on the path).

The library carries Helm's Go runtime, which is kept out of the process of the tests. Answers are JSON; a refusal is
status 1 and its text on standard error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

RELEASE = "hilbert"
PLATFORM = "openfaas"


def command(verb: str, chart: Path, values: dict[str, Any] | None = None) -> list[str]:
    """`template` and `lint` need no cluster; `install`, `upgrade`, `uninstall` and `list` take that of `KUBECONFIG`."""
    return [sys.executable, "-m", "support.helm", verb, str(chart), json.dumps(values or {})]


def run(verb: str, chart: Path, values: dict[str, Any] | None = None) -> Any:
    """For what needs no cluster. Raises `ValueError` with Helm's own words."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command(verb, chart, values), capture_output=True, text=True, env=environment, timeout=120)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return json.loads(done.stdout)


def rendered(chart: Path, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The objects that `helm template` makes."""
    made = run("template", chart, values)
    texts = [text for path, text in sorted(made.items()) if path.endswith(".yaml")]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


def main(verb: str, chart: str, values: str) -> Any:
    import helm_python as helm

    given = json.loads(values)
    if verb == "lint":
        return helm.lint(chart, given, strict=True, namespace=PLATFORM)
    if verb == "template":
        with helm.Chart.load(chart) as loaded:
            loaded.validate_schema(given)
            return loaded.render(given, name=RELEASE, namespace=PLATFORM)
    with helm.Config(kubeconfig_path=os.environ["KUBECONFIG"], namespace=PLATFORM) as cluster:
        if verb == "install":
            return cluster.install(chart, RELEASE, given, create_namespace=True, timeout=60)
        if verb == "upgrade":
            return cluster.upgrade(chart, RELEASE, given, timeout=60)
        if verb == "uninstall":
            return cluster.uninstall(RELEASE, timeout=60)
        return cluster.list()


if __name__ == "__main__":
    import helm_python

    try:
        print(json.dumps(main(*sys.argv[1:])))
    except helm_python.HelmError as exc:
        sys.exit(str(exc))
