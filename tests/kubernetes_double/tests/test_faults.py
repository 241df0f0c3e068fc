"""What can be made to go wrong, and real processes as Pods."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from kubernetes_double import ApiServer, Outcome, Process
from kubernetes_double.controllers.scripts import absent, crashing, never_ready
from kubernetes_double.objects.schema import Official

Json = dict[str, Any]
QUIET = frozenset({"furnish", "remove", "definitions"})


def config_map(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": {"k": "1"},
    }


@asynccontextmanager
async def client(cluster: ApiServer, user: str = "") -> AsyncIterator[httpx2.AsyncClient]:
    token = cluster.token(user) if user else cluster.token("root", groups=("system:masters",))
    async with httpx2.AsyncClient(
        base_url=cluster.url, headers={"Authorization": f"Bearer {token}"}, timeout=10
    ) as http:
        yield http


class Events:
    """Reads one watch in the background."""

    def __init__(self) -> None:
        self.seen: list[Json] = []
        self.ended = False

    @property
    def names(self) -> list[str]:
        return [f"{e['type']} {e['object'].get('metadata', {}).get('name')}" for e in self.seen]

    async def read(self, http: httpx2.AsyncClient, version: str) -> None:
        path = "/api/v1/namespaces/default/configmaps"
        async with http.stream("GET", path, params={"watch": "1", "resourceVersion": version}) as answer:
            async for line in answer.aiter_lines():
                self.seen.append(json.loads(line))
        self.ended = True


@asynccontextmanager
async def watching(cluster: ApiServer) -> AsyncIterator[Events]:
    await cluster.controllers.settled()
    events = Events()
    async with client(cluster) as http:
        task = asyncio.create_task(events.read(http, str(cluster.store.version)))
        try:
            await until(lambda: bool(cluster.chaos.watches))
            yield events
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come true"
        await asyncio.sleep(0.005)


async def test_watch_events_are_dropped_doubled_and_turned_round() -> None:
    async with ApiServer(controllers=QUIET) as cluster, watching(cluster) as events:
        cluster.chaos.drop = 1
        cluster.put(config_map("lost"))
        cluster.chaos.duplicate = True
        cluster.put(config_map("twice"))
        cluster.chaos.duplicate = False
        cluster.chaos.reorder = 2
        cluster.put(config_map("early"))
        cluster.put(config_map("late"))
        await until(lambda: len(events.seen) == 4)
        assert events.names == ["ADDED twice", "ADDED twice", "ADDED late", "ADDED early"]


async def test_held_back_events_are_released() -> None:
    async with ApiServer(controllers=QUIET) as cluster, watching(cluster) as events:
        cluster.chaos.reorder = 10
        cluster.put(config_map("held"))
        cluster.chaos.release()
        await until(lambda: events.names == ["ADDED held"])


async def test_muted_watch_loses_what_happens() -> None:
    async with ApiServer(controllers=QUIET) as cluster, watching(cluster) as events:
        with cluster.chaos.muted():
            cluster.put(config_map("unheard"))
        cluster.put(config_map("heard"))
        await until(lambda: events.names == ["ADDED heard"])


async def test_watches_end_cleanly_or_with_410() -> None:
    async with ApiServer(controllers=QUIET) as cluster:
        async with watching(cluster) as events:
            cluster.chaos.close_watches()
            await until(lambda: events.ended)
            assert events.seen == []
        async with watching(cluster) as events:
            cluster.chaos.expire_watches()
            await until(lambda: events.ended)
            assert events.seen[-1]["object"]["code"] == 410
        async with client(cluster) as http:
            old = {"watch": "1", "resourceVersion": "1001", "timeoutSeconds": "1"}
            answer = await http.get("/api/v1/namespaces/default/configmaps", params=old)
            assert answer.json()["object"]["reason"] == "Expired"


async def test_requests_fail_on_demand() -> None:
    async with ApiServer(controllers=QUIET) as cluster, client(cluster) as http:
        cluster.chaos.throttle(seconds=7, path="/namespaces")
        refused = await http.get("/api/v1/namespaces")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
        assert refused.json()["reason"] == "TooManyRequests"
        assert (await http.get("/api/v1/namespaces")).status_code == 200
        cluster.chaos.fail(500, method="POST", after=True)
        lost = await http.post("/api/v1/namespaces/default/configmaps", json=config_map("made"))
        assert lost.status_code == 500
        assert cluster.object("configmaps", "made", "default") is not None


async def test_tokens_expire() -> None:
    async with ApiServer(controllers=QUIET) as cluster, client(cluster) as http:
        cluster.chaos.reject_tokens = True
        assert (await http.get("/api/v1/namespaces")).status_code == 401
        cluster.chaos.reject_tokens = False
        assert (await http.get("/api/v1/namespaces")).status_code == 200


async def test_server_goes_away_and_comes_back_with_all_it_knew() -> None:
    async with ApiServer(controllers=QUIET) as cluster, client(cluster) as http:
        cluster.put(config_map("kept"))
        await cluster.refuse()
        with pytest.raises(httpx2.TransportError):
            await http.get("/api/v1/namespaces")
        await cluster.listen()
        answer = await http.get("/api/v1/namespaces/default/configmaps/kept")
        assert answer.status_code == 200


async def test_rules_decide_what_a_user_may_do() -> None:
    async with ApiServer(controllers=QUIET) as cluster, client(cluster, "jane") as http:
        path = "/api/v1/namespaces/default/configmaps"
        assert (await http.get(path)).status_code == 403
        api = "rbac.authorization.k8s.io"
        rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}
        metadata = {"name": "reader", "namespace": "default"}
        cluster.put({"apiVersion": f"{api}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]})
        reference = {"apiGroup": api, "kind": "Role", "name": "reader"}
        subjects = [{"apiGroup": api, "kind": "User", "name": "jane"}]
        binding = {"kind": "RoleBinding", "metadata": metadata, "roleRef": reference, "subjects": subjects}
        cluster.put({"apiVersion": f"{api}/v1", **binding})
        assert (await http.get(path)).status_code == 200
        assert (await http.post(path, json=config_map("x"))).status_code == 403


def deployment(image: str, **container: Any) -> Json:
    inner = {"name": "f", "image": image, "ports": [{"name": "http", "containerPort": 8080}], **container}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "f", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"f": "f"}},
            "template": {"metadata": {"labels": {"f": "f"}}, "spec": {"containers": [inner]}},
        },
    }


SERVICE: Json = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "f", "namespace": "default"},
    "spec": {"selector": {"f": "f"}, "ports": [{"port": 8080, "targetPort": "http"}]},
}
SERVER = """
import os, signal, socket, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write((os.environ["WORD"] + open(os.environ["HILBERT_SECRETS_DIR"] + "/key").read()).encode())
    def log_message(self, *args): pass
server = HTTPServer(("", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=int(os.environ["HILBERT_LISTEN_FD"]))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("serving", flush=True)
server.serve_forever()
"""


def ready(cluster: ApiServer) -> list[str]:
    slices = cluster.objects("endpointslices", "default", group="discovery.k8s.io")
    found = [endpoint for item in slices for endpoint in item.get("endpoints") or ()]
    return [endpoint["addresses"][0] for endpoint in found if endpoint["conditions"]["ready"]]


async def test_pod_is_a_real_process_at_its_own_address() -> None:
    async with ApiServer() as cluster:
        cluster.images["registry/real:1"] = Outcome(process=Process((sys.executable, "-c", SERVER)))
        secret = {"kind": "Secret", "metadata": {"name": "s", "namespace": "default"}, "stringData": {"key": "-secret"}}
        cluster.put({"apiVersion": "v1", **secret})
        body = deployment(
            "registry/real:1",
            env=[{"name": "WORD", "value": "hello"}],
            readinessProbe={"httpGet": {"path": "/", "port": "http"}},
            volumeMounts=[{"name": "v", "mountPath": "/var/openfaas/secrets"}],
        )
        body["spec"]["template"]["spec"]["volumes"] = [{"name": "v", "secret": {"secretName": "s"}}]
        body["spec"]["replicas"] = 2
        cluster.put(SERVICE)
        cluster.put(body)
        await until(lambda: len(ready(cluster)) == 2, 15)
        addresses = ready(cluster)
        assert len(set(addresses)) == 2
        async with httpx2.AsyncClient() as http:
            for address in addresses:
                assert (await http.get(f"http://{address}:8080/")).text == "hello-secret"
        uid = cluster.objects("pods", "default")[0]["metadata"]["uid"]
        assert [text for _, text in cluster.kubelet.log(uid, "f").starts[0]] == ["serving\n"]
        assert len(cluster.kubelet.processes()) == 2
        async with client(cluster) as api:
            await api.delete("/apis/apps/v1/namespaces/default/deployments/f")
        await until(lambda: not cluster.objects("pods", "default"), 10)
        assert cluster.kubelet.processes() == {}
        assert cluster.controllers.errors == []


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (absent("registry/bad:1"), "ImagePullBackOff"),
        (crashing(3), "CrashLoopBackOff"),
        (Outcome(unschedulable="0/1 nodes are available"), "Unschedulable"),
    ],
)
async def test_scripted_pods_fail_as_told(outcome: Outcome, reason: str) -> None:
    async with ApiServer() as cluster:
        cluster.images["registry/bad:1"] = outcome
        cluster.put(deployment("registry/bad:1"))

        def told() -> bool:
            return any(reason in json.dumps(pod["status"]) for pod in cluster.objects("pods", "default"))

        await until(told)
        found = cluster.object("deployments", "f", "default", group="apps")
        assert found is not None
        assert "readyReplicas" not in found["status"]


async def test_rollout_keeps_the_old_pod_until_the_new_one_is_ready() -> None:
    async with ApiServer() as cluster, client(cluster) as http:
        cluster.images["registry/new:1"] = never_ready()
        cluster.put(SERVICE)
        cluster.put(deployment("registry/old:1"))
        await until(lambda: len(ready(cluster)) == 1)
        before = ready(cluster)
        change = {"spec": {"template": {"spec": {"containers": [{"name": "f", "image": "registry/new:1"}]}}}}
        headers = {"Content-Type": "application/strategic-merge-patch+json"}
        path = "/apis/apps/v1/namespaces/default/deployments/f"
        answer = await http.patch(path, content=json.dumps(change), headers=headers)
        assert answer.status_code == 200
        await until(lambda: len(cluster.objects("pods", "default")) == 2)
        await cluster.controllers.settled()
        assert ready(cluster) == before


async def test_many_objects_are_listed_and_watched_in_reasonable_time() -> None:
    """A tenth of what the scale run has: 1,000 functions in 100 namespaces, each with three objects."""
    async with ApiServer(controllers=frozenset(), window=50_000) as cluster, client(cluster) as http:
        for space in range(100):
            cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"n{space}"}})
            for number in range(10):
                metadata = {"name": f"f{number}", "namespace": f"n{space}"}
                cluster.put({**deployment("registry/old:1"), "metadata": metadata})
                cluster.put({**SERVICE, "metadata": metadata})
        found: list[Json] = []
        more = ""
        while True:
            query = {"limit": "500", **({"continue": more} if more else {})}
            page = (await http.get("/apis/apps/v1/deployments", params=query)).json()
            found.extend(page["items"])
            more = page["metadata"].get("continue", "")
            if not more:
                break
        assert len(found) == 1000
        names = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in found]
        assert names == sorted(names)


async def test_what_is_not_valid_by_the_official_schemas_is_not_stored() -> None:
    official = Official()
    wrong = {**config_map("x"), "immutable": "yes"}
    assert official.complaint(config_map("x")) is None
    assert "immutable" in (official.complaint(wrong) or "")
    async with ApiServer(controllers=QUIET) as cluster:
        checked: list[str] = []

        def complain(obj: Json) -> str:
            checked.append(obj["kind"])
            return "spec: not as it should be"

        cluster.engine.official.complaint = complain  # type: ignore[method-assign]  # stands in for a bad object
        async with client(cluster) as http:
            answer = await http.post("/api/v1/namespaces/default/configmaps", json=config_map("x"))
        assert answer.status_code == 500
        assert "ConfigMap" in checked
        assert cluster.object("configmaps", "x", "default") is None


async def test_metrics_are_served_when_there_is_a_metrics_server() -> None:
    async with ApiServer() as cluster, client(cluster) as http:
        path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"
        assert (await http.get(path)).status_code == 404
        cluster.metrics.enabled = True
        cluster.put(deployment("registry/old:1"))
        await until(lambda: any(p["status"].get("phase") == "Running" for p in cluster.objects("pods", "default")))
        name = cluster.objects("pods", "default")[0]["metadata"]["name"]
        cluster.metrics.usage[name] = ("12m", "34Mi")
        found = (await http.get(path)).json()
        assert found["items"][0]["containers"] == [{"name": "f", "usage": {"cpu": "12m", "memory": "34Mi"}}]
