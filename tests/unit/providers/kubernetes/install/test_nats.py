"""The NATS servers that an installation can bring: what the chart makes of them, and what a real server makes of that."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from hilbert.core.errors import BackendUnavailable
from hilbert.providers.kubernetes.install import nats as install
from hilbert.queues.jetstream import JetStreamQueue
from hilbert.queues.jetstream.log import Log
from hilbert.testing.queue import BOUNDS, HERE, call
from support import helm, nats

pytestmark = pytest.mark.skipif(bool(nats.missing()), reason=nats.missing())
CHART = Path(__file__).parents[5] / "deploy" / "kubernetes" / "chart"


def test_the_objects_are_what_kubernetes_takes() -> None:
    for manifest in install.objects("openfaas"):
        kubernetes_validate.validate(manifest, "1.31", strict=True)


def made(kind: str, manifests: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [item for item in manifests if (item["kind"], item["metadata"]["name"]) == (kind, install.NAME)]
    return found


def environment(container: dict[str, Any], pod: str = "nats-0", password: str = "p0") -> dict[str, str]:
    """As the node would give it to the container."""
    given = {"POD_NAME": pod, "NATS_PASSWORD": password}
    return given | {
        entry["name"]: entry["value"].replace("$(NATS_PASSWORD)", password)
        for entry in container["env"]
        if "value" in entry
    }


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_real_server_takes_what_the_chart_makes(replicas: int, tmp_path: Path) -> None:
    pytest.importorskip("helm_python", reason="Helm's library (helm-python-sdk) is not there for this machine")
    manifests = helm.rendered(CHART, {"nats": {"enabled": True, "replicas": replicas, "storage": "5Gi"}})
    spec = made("StatefulSet", manifests)["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["replicas"] == replicas
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    option, path = container["args"]
    config = tmp_path / "nats.conf"
    config.write_text(made("ConfigMap", manifests)["data"][Path(path).name])
    assert "sync_interval: always" in config.read_text()
    done = subprocess.run(
        [nats.command(), "-t", option, str(config)], env=environment(container), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (gateway,) = [item for item in manifests if item["kind"] == "Deployment"]
    entries = {entry["name"]: entry for entry in gateway["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert entries["HILBERT_QUEUE__NATS_REPLICAS"]["value"] == str(replicas)
    names = list(entries)
    assert names.index("NATS_PASSWORD") < names.index("HILBERT_QUEUE__NATS_URL"), "it stands in the address"


def test_without_it_the_chart_makes_none() -> None:
    pytest.importorskip("helm_python", reason="Helm's library (helm-python-sdk) is not there for this machine")
    assert "nats" not in json.dumps(helm.rendered(CHART))


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[tuple[list[str], list[subprocess.Popen[bytes]]]]:
    """Three servers with the installation's own configuration, each on an address of this machine."""
    block = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}"
    hosts = [f"{block}.{number}" for number in range(1, 4)]
    manifests = install.objects("openfaas")
    (container,) = made("StatefulSet", manifests)["spec"]["template"]["spec"]["containers"]
    text = made("ConfigMap", manifests)["data"]["cluster.conf"]
    running = []
    try:
        for number, host in enumerate(hosts):
            given = environment(container, f"nats-{number}")
            for place, other in enumerate(hosts):
                given["NATS_ROUTES"] = given["NATS_ROUTES"].replace(f"nats-{place}.nats", other)
            here = text.replace("/data", f"{folder}/{number}").replace("port: 6222", f"host: {host}\n  port: 6222")
            config = folder / f"{number}.conf"
            config.write_text(f"host: {host}\n{here}")
            running.append(
                subprocess.Popen(
                    [nats.command(), "-c", str(config)],
                    env=given,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        yield hosts, running
    finally:
        for process in running:
            process.kill()
            process.wait()


async def put(queue: JetStreamQueue, name: str) -> None:
    """As soon as the servers have chosen who leads."""
    while True:
        with contextlib.suppress(BackendUnavailable):
            await queue.put([call(name)], now=1)
            return
        await asyncio.sleep(0.05)


@pytest.mark.anyio
async def test_three_servers_keep_every_call_and_one_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster(tmp_path) as (hosts, servers):
        url = ",".join(f"nats://hilbert:p0@{host}:4222" for host in hosts)
        folder = tmp_path / "copy"
        folder.mkdir()
        queue = await JetStreamQueue.open(lambda: Log.connect(url, name="q", replicas=3), folder, BOUNDS)
        try:
            await put(queue, "a")
            info = await queue._log._stream.stream_info("q")
            assert info.config.num_replicas == 3
            servers[0].kill()
            await put(queue, "b")
            assert [record.id for record in await queue.list_calls(HERE, limit=9)] == ["a", "b"]
        finally:
            await queue.close()
        monkeypatch.setattr("hilbert.queues.jetstream.log._PATIENCE", 1.0)
        with pytest.raises(BackendUnavailable):
            await Log.connect(url.replace("p0", "wrong"), name="q")
