"""A cluster of the test double in a process of its own, full of functions: `python -m bench.cluster`.

One function is really deployed, by a gateway's provider and the double's controllers; all others are copies of the
objects that this left (Function, Deployment, Service, Pod, EndpointSlice, and what a namespace holds), each with names
and UIDs of its own. No containers run: every Pod's address is that of one upstream. Replica sets are left out, since
gateways do not read them.

Prints one line of JSON, `{"url": ..., "token": ..., "gateway": ...}`, once it listens. Each line on its standard input is
answered with one of JSON: `requests` with how many there were of each kind since the last time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import uuid
from collections import Counter
from typing import Any

import msgspec
import uvloop

import bench  # noqa: F401 - puts the tests' harness on the path
from hilbert.core.model import FunctionSpec, Namespace, Phase, Resources
from hilbert.core.settings import ProviderSettings
from hilbert.core.values import FunctionRef, NamespaceName, Quantity
from hilbert.kit import log
from hilbert.providers.kubernetes.cluster import names, objects
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.providers.kubernetes.render import function_object, pod, workload
from kubernetes_double import ADMIN
from support.cluster import ACCOUNT, Double, install, settings_of, until

Json = dict[str, Any]

MODEL_NAMESPACE = "model-namespace"
MODEL = "model-function"
_KINDS = (
    ("functions", "openfaas.com"),
    ("deployments", "apps"),
    ("services", ""),
    ("pods", ""),
    ("endpointslices", "discovery.k8s.io"),
)
_PIECES = (("resourcequotas", ""), ("limitranges", ""), ("networkpolicies", "networking.k8s.io"))


async def deploy_model(server: Double) -> None:
    """One namespace and one function, made by a gateway, ready."""
    install(server)
    spec = FunctionSpec(
        ref=FunctionRef.parse(f"{MODEL}.{MODEL_NAMESPACE}"),
        image="registry.example.com/team/model:1.0.0",
        env={"write_timeout": "10s", "LOG_LEVEL": "info"},
        labels={"com.openfaas.scale.min": "1", "team": "models"},
        annotations={"topic": "orders"},
        limits=Resources(memory=Quantity.parse("128Mi"), cpu=Quantity.parse("500m")),
        read_only_root=True,
    )
    provider = KubernetesProvider(settings_of(server), provider=ProviderSettings(name="kubernetes"))
    await provider.start()
    try:
        await provider.wait_ready()
        quota = {"com.hilbert.quota.memory": "8Gi"}
        await provider.create_namespace(Namespace(name=NamespaceName(MODEL_NAMESPACE), annotations=quota))
        await provider.apply(spec)

        async def is_ready() -> bool:
            function = server.object("functions", MODEL, MODEL_NAMESPACE, group="openfaas.com")
            conditions = {
                item["type"]: item["status"] for item in (function or {}).get("status", {}).get("conditions", ())
            }
            return (await provider.get(spec.ref)).phase is Phase.READY and conditions.get("Healthy") == "True"

        await until(is_ready)
    finally:
        await provider.close()
    await server.controllers.settled()


class Copier:
    """Copies of what is in the model's namespace."""

    def __init__(self, server: Double, host: str, port: int) -> None:
        self._server = server
        self._host = host
        self._port = port
        self._rules = pod.Rules()
        self._namespace = self._texts((("namespaces", ""),), lambda item: item["metadata"]["name"] == MODEL_NAMESPACE)
        self._pieces = self._texts(_PIECES, lambda item: item["metadata"].get("namespace") == MODEL_NAMESPACE)
        self._function = self._texts(_KINDS, lambda item: item["metadata"].get("namespace") == MODEL_NAMESPACE)

    def _texts(self, kinds: Any, chosen: Any) -> list[tuple[str, str]]:
        return [
            (self._server.resource(plural, group).key, json.dumps(item))
            for plural, group in kinds
            for item in self._server.objects(plural, group=group)
            if chosen(item)
        ]

    def namespace(self, name: str, *, marked: bool = True) -> None:
        for key, text in (*self._namespace, *self._pieces):
            item = json.loads(text.replace(MODEL_NAMESPACE, name))
            item["metadata"]["uid"] = str(uuid.uuid4())
            if key == "namespaces" and not marked:
                del item["metadata"]["annotations"][names.MARKER]
            self._put(key, item)

    def function(self, name: str, namespace: str) -> None:
        made = {}
        uids: dict[str, str] = {}
        for key, text in self._function:
            renamed = text.replace(MODEL_NAMESPACE, namespace).replace(MODEL, name)
            renamed = _UID.sub(lambda found: uids.setdefault(found[0], str(uuid.uuid4())), renamed)
            made[key] = json.loads(renamed)
        function = made["functions.openfaas.com"]
        spec = function_object.to_spec_struct(msgspec.convert(function, objects.FunctionObject))
        owner = workload.Owner(function["metadata"]["uid"], function["metadata"]["generation"])
        for key, rendered in (
            ("deployments.apps", workload.deployment(spec, owner=owner, replicas=1, rules=self._rules)),
            ("services", workload.service(spec, owner=owner)),
        ):
            made[key]["metadata"]["annotations"] |= rendered["metadata"]["annotations"]
        slices = made["endpointslices.discovery.k8s.io"]
        slices["endpoints"][0]["addresses"] = [self._host]
        slices["ports"][0]["port"] = self._port
        for key, item in made.items():
            self._put(key, item)

    def _put(self, key: str, item: Json) -> None:
        metadata = item["metadata"]
        self._server.store.put(key, (metadata.get("namespace", ""), metadata["name"]), item)


_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def kind_of(method: str, path: str, *, watch: bool) -> str:
    """`GET pods`, without names and namespaces."""
    words = path.strip("/").split("/")
    words = words[2:] if words[0] == "api" else words[3:]
    if words and words[0] == "namespaces" and len(words) > 2:
        words = words[2:]
    return f"{'WATCH' if watch else method} {words[0] if words else path}"


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--namespaces", type=int, default=1000)
    parser.add_argument("--functions", type=int, default=10_000)
    parser.add_argument("--upstream", required=True, help="HOST:PORT that every Pod answers at")
    options = parser.parse_args()
    log.configure(level="error")
    host, _, port = options.upstream.rpartition(":")
    async with Double() as server:
        await deploy_model(server)
        await server.controllers.stop()
        copier = Copier(server, host, int(port))
        for number in range(options.namespaces):
            copier.namespace(f"tenant-{number:04}")
        for number in range(options.functions):
            copier.function(f"function-{number // options.namespaces:02}", f"tenant-{number % options.namespaces:04}")
        copier.namespace("late", marked=False)
        copier.function("late", "late")
        server.requests.clear()
        print(
            json.dumps(
                {"gateway": str(server.kubeconfig_for(ACCOUNT)), "url": server.url, "token": server.token(ADMIN)}
            ),
            flush=True,
        )
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            counted = Counter(kind_of(call.method, call.path, watch=call.watch) for call in server.requests)
            server.requests.clear()
            print(json.dumps(counted), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
