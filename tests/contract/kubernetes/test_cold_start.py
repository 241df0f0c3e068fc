"""From nothing to the first endpoint: the gateway does not wait for the kubelet's clock."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hilbert.core.model import Endpoint, FunctionSpec
from hilbert.core.values import FunctionRef
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.testing.harness import call
from kubernetes_double import Outcome, Process
from support.cluster import Double, gateway, installed, until, watchdog

pytestmark = [pytest.mark.anyio, pytest.mark.double("the kubelet is slowed down")]

REF = FunctionRef.parse("echo")
NEVER = 3600.0

COUNTING = """
import http.server, os, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(sys.argv[1], "a") as log:
            log.write(self.path + chr(10))
        self.send_response(int(sys.argv[2]))
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=int(os.environ["HILBERT_LISTEN_FD"]))
server.serve_forever()
"""


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Double]:
    async with installed() as cluster:
        cluster.images["echo:1"] = watchdog(tmp_path / "image")
        cluster.pace.first_probe = NEVER
        cluster.pace.grace_scale = 0.01
        yield cluster
        assert cluster.controllers.errors == []


@pytest.fixture
async def provider(cluster: Double) -> AsyncIterator[KubernetesProvider]:
    async with gateway(cluster) as provider:
        yield provider


def counting(cluster: Double, folder: Path, status: int) -> Path:
    """An image that writes down what it is asked, and answers with `status`."""
    log = folder / "asked"
    log.touch()
    cluster.images["echo:1"] = Outcome(process=Process((sys.executable, "-c", COUNTING, str(log), str(status))))
    return log


def ready(cluster: Double) -> list[str]:
    """Names of the Pods that the kubelet has found ready."""
    found = []
    for pod in cluster.objects("pods", REF.namespace):
        conditions = {item["type"]: item["status"] for item in pod["status"].get("conditions") or ()}
        if conditions.get("Ready") == "True":
            found.append(pod["metadata"]["name"])
    return found


def endpoints(provider: KubernetesProvider) -> tuple[Endpoint, ...]:
    return provider._state.endpoints((str(REF.namespace), str(REF.name)))


async def test_a_pod_that_answers_is_called_before_the_kubelet_has_looked(
    cluster: Double, provider: KubernetesProvider
) -> None:
    spec = FunctionSpec(ref=REF, image="echo:1")
    await provider.apply(spec)
    (endpoint,) = await until(lambda: endpoints(provider))
    assert await call(endpoint, b"hello") == (200, b"hello")
    assert not ready(cluster), "the kubelet has not said so"
    await provider.scale(REF, 0)
    await until(lambda: not endpoints(provider), what="a Pod that ends is not called")


async def test_a_container_that_ends_is_no_longer_called(cluster: Double, provider: KubernetesProvider) -> None:
    await provider.apply(FunctionSpec(ref=REF, image="echo:1"))
    await until(lambda: endpoints(provider))
    (pod,) = cluster.objects("pods", REF.namespace)
    cluster.kubelet.remove(pod)
    await until(lambda: pod["metadata"]["name"] not in {endpoint.replica for endpoint in endpoints(provider)})


@pytest.mark.parametrize(
    ("annotations", "path"),
    [({}, "/_/health"), ({"com.openfaas.ready.http.path": "/ready"}, "/ready")],
)
async def test_it_is_asked_what_the_kubelet_would_ask(
    cluster: Double, provider: KubernetesProvider, tmp_path: Path, annotations: dict[str, str], path: str
) -> None:
    log = counting(cluster, tmp_path, 200)
    await provider.apply(FunctionSpec(ref=REF, image="echo:1", annotations=annotations))
    await until(lambda: endpoints(provider))
    assert set(log.read_text().split()) == {path}


async def test_a_bad_answer_opens_nothing(cluster: Double, provider: KubernetesProvider, tmp_path: Path) -> None:
    log = counting(cluster, tmp_path, 503)
    await provider.apply(FunctionSpec(ref=REF, image="echo:1"))
    await until(lambda: len(log.read_text().split()) > 5)
    assert endpoints(provider) == ()


@pytest.mark.parametrize(
    "annotations",
    [
        {"com.openfaas.ready.http.initialDelaySeconds": "5"},
        {"com.openfaas.ready.http.successThreshold": "2"},
    ],
)
async def test_a_function_that_wants_to_be_left_alone_at_first_is(
    cluster: Double, provider: KubernetesProvider, tmp_path: Path, annotations: dict[str, str]
) -> None:
    log = counting(cluster, tmp_path, 200)
    await provider.apply(FunctionSpec(ref=REF, image="echo:1", annotations=annotations))
    other = FunctionRef.parse("other")
    await until(lambda: cluster.objects("pods", REF.namespace))
    await provider.apply(FunctionSpec(ref=other, image="echo:1"))
    await until(lambda: provider._state.endpoints(("openfaas-fn", "other")))
    assert len(log.read_text().split()) == 1, "the other's, which came later"
    assert endpoints(provider) == ()


async def test_a_function_that_has_a_ready_replica_is_left_to_the_kubelet(
    cluster: Double, provider: KubernetesProvider, tmp_path: Path
) -> None:
    cluster.pace.first_probe = 0.0
    log = counting(cluster, tmp_path, 200)
    await provider.apply(FunctionSpec(ref=REF, image="echo:1"))
    await until(lambda: ready(cluster))
    await until(lambda: len(endpoints(provider)) == 1)
    cluster.pace.first_probe = NEVER
    log.write_text("")
    await provider.scale(REF, 2)
    await until(lambda: sum("podIP" in pod["status"] for pod in cluster.objects("pods", REF.namespace)) == 2)
    # What comes of a change of another function comes after what comes of this.
    await provider.apply(FunctionSpec(ref=FunctionRef.parse("other"), image="echo:1"))
    await until(lambda: provider._state.endpoints(("openfaas-fn", "other")))
    assert len(endpoints(provider)) == 1
