"""The way to a real cluster, walked with a double that stands in a process of its own, behind HTTPS and a kubeconfig.

What runs against a real cluster (`make test-cluster`) runs here as well, so that it works when somebody has one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilbert.core.model import FunctionSpec
from kubernetes_double import Outcome
from support.authority import make_authority
from support.cluster import gateway, installed, until
from support.cluster_report import describe
from support.real_cluster import PREFIX, RealCluster, until_true

pytestmark = pytest.mark.double("it brings a cluster of its own")

HERE = Path(__file__).parent
TESTS = HERE.parents[1]
IMAGE = "registry.invalid/echo:1"
SUITES = ("test_functions.py", "test_namespaces.py", "test_provider.py", "test_words.py")


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a cluster in which only `IMAGE` can run."""
    folder = tmp_path_factory.mktemp("standing")
    (folder / "bundle").mkdir()
    command = (sys.executable, "-m", "support.standing", str(make_authority(folder)), IMAGE, str(folder / "bundle"))
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    yield Path(process.stdout.readline().strip())
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error


def suite(kubeconfig: Path, *arguments: str, image: str = IMAGE) -> tuple[int, str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        "HILBERT_TEST_CLUSTER": "1",
        "HILBERT_TEST_IMAGE": image,
        "KUBECONFIG": str(kubeconfig),
    }
    command = (sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *arguments)
    done = subprocess.run(command, env=environment, cwd=TESTS.parent, capture_output=True, text=True, timeout=280)
    return done.returncode, done.stdout + done.stderr


def passed(out: str) -> int:
    return int((re.search(r"(\d+) passed", out) or [0, 0])[1])


def skips(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("SKIPPED")]


@pytest.mark.parametrize("name", SUITES)
def test_suites_pass_on_a_cluster_that_is_known_by_its_kubeconfig(kubeconfig: Path, name: str, tmp_path: Path) -> None:
    code, out = suite(kubeconfig, str(HERE / name))
    assert code == 0, out[-20_000:]
    assert passed(out) >= 4, out
    assert all("on the double only: " in line for line in skips(out)), out
    cluster = RealCluster(kubeconfig, tmp_path)
    until_true(lambda: not [name for name in namespaces(cluster) if name.startswith(PREFIX)], "nothing is left behind")
    cluster.close()


def namespaces(cluster: RealCluster) -> list[str]:
    return [item["metadata"]["name"] for item in cluster.objects("namespaces")]


def test_without_an_image_to_run_what_needs_none_is_tested(kubeconfig: Path) -> None:
    code, out = suite(kubeconfig, str(HERE / "test_words.py"), image="")
    assert code == 0, out[-20_000:]
    assert passed(out) >= 2, out
    assert any("HILBERT_TEST_IMAGE names no image" in line for line in skips(out)), out


def test_a_cluster_that_is_in_use_is_refused(kubeconfig: Path, tmp_path: Path) -> None:
    cluster = RealCluster(kubeconfig, tmp_path)
    metadata = {"name": "customers", "annotations": {"openfaas": "1"}}
    cluster.request("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    code, out = suite(kubeconfig, str(HERE / "test_words.py"))
    assert code != 0
    assert "function namespaces in use (customers)" in out
    assert namespaces(cluster).count("customers") == 1
    cluster.request("DELETE", "/api/v1/namespaces/customers")
    cluster.close()


@pytest.mark.anyio
async def test_a_failure_is_told_with_objects_events_and_log_lines() -> None:
    async with installed() as cluster, gateway(cluster) as provider:
        cluster.images["crash:1"] = Outcome(exits=(3,), log=("starting", "no database"))
        await provider.apply(FunctionSpec(ref=cluster.ref("f"), image="crash:1"))
        wanted = (
            "function f: generation 1",
            "CrashLoopBackOff",
            "log: no database",
            "event Warning Pod f-",
            "Stalled=True",
        )

        def told() -> bool:
            text = describe(cluster)
            return all(part in text for part in wanted)

        await until(told, what=describe(cluster))
