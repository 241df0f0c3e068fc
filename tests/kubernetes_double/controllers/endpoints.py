"""EndpointSlices: the addresses behind each Service."""

from __future__ import annotations

from kubernetes_double.controllers.base import Controller, controller_of, owner_reference
from kubernetes_double.controllers.replicasets import is_ready
from kubernetes_double.objects.clock import stamp
from kubernetes_double.serving.status import Json
from kubernetes_double.storage.store import Event, Key

_MANAGED = "endpointslice.kubernetes.io/managed-by"
_SERVICE = "kubernetes.io/service-name"
_TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
_MOST = 100
"""Endpoints in one slice."""


class EndpointController(Controller):
    """Keys are Services."""

    def begin(self) -> None:
        self.follow("services", existing=True)
        self.follow("pods", self._services)
        self.follow("endpointslices.discovery.k8s.io", self._own)

    def _services(self, event: Event) -> list[Key]:
        found: list[Key] = []
        states = [event.item] if event.before is None else [event.item, event.before]
        for key, item in self.store.collection("services").items(event.key[0]):
            selector = item.obj["spec"].get("selector")
            if selector and any(selector.items() <= state.labels.items() for state in states):
                found.append(key)
        return found

    @staticmethod
    def _own(event: Event) -> list[Key]:
        name = event.item.labels.get(_SERVICE)
        mine = event.item.labels.get(_MANAGED) == "endpointslice-controller.k8s.io"
        return [(event.key[0], name)] if event.deleted and name and mine else []

    def _slices(self, namespace: str, name: str) -> list[Json]:
        return [
            item.obj
            for _, item in self.store.collection("endpointslices.discovery.k8s.io").items(namespace)
            if item.labels.get(_SERVICE) == name and item.labels.get(_MANAGED) == "endpointslice-controller.k8s.io"
        ]

    async def sync(self, key: Key) -> None:
        service = self.engine.peek("services", *key)
        slices = self._slices(*key)
        resource = self.resource("endpointslices", "discovery.k8s.io")
        if service is None or not service["spec"].get("selector"):
            for old in slices:
                owner = controller_of(old)
                if owner is not None:
                    self.delete(resource, old)
            return
        if "deletionTimestamp" in service["metadata"]:
            return
        wanted = self._wanted(service)
        ports, endpoints = wanted
        labels = {
            _MANAGED: "endpointslice-controller.k8s.io",
            **(service["metadata"].get("labels") or {}),
            _SERVICE: service["metadata"]["name"],
        }
        if service["spec"].get("clusterIP") == "None":
            labels["service.kubernetes.io/headless"] = ""
        chunks = [endpoints[at : at + _MOST] for at in range(0, len(endpoints), _MOST)] or [[]]
        for index, chunk in enumerate(chunks):
            body = {"ports": ports if chunk else None, "endpoints": chunk or None}
            if index < len(slices):
                self._write(slices[index], labels, body)
                continue
            metadata = {
                "generateName": f"{key[1]}-",
                "labels": labels,
                "annotations": {_TRIGGER: stamp()},
                "ownerReferences": [owner_reference(service)],
            }
            head = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4"}
            self.create(resource, key[0], {**head, "metadata": metadata, **body})
        for old in slices[len(chunks) :]:
            self.delete(resource, old)

    def _write(self, old: Json, labels: Json, body: Json) -> None:
        same = all(old.get(name) == body[name] for name in ("ports", "endpoints"))
        if same and old["metadata"].get("labels") == labels:
            return

        def change(fresh: Json) -> None:
            fresh.update(body)
            fresh["metadata"]["labels"] = labels
            fresh["metadata"].setdefault("annotations", {})[_TRIGGER] = stamp()

        self.change(self.resource("endpointslices", "discovery.k8s.io"), old, change)

    def _wanted(self, service: Json) -> tuple[list[Json], list[Json]]:
        namespace, selector = service["metadata"]["namespace"], service["spec"]["selector"]
        publish = bool(service["spec"].get("publishNotReadyAddresses"))
        ports: list[Json] = []
        endpoints: list[tuple[tuple[int, ...], Json]] = []
        for _, item in self.store.collection("pods").items(namespace):
            pod = item.obj
            status = pod["status"]
            if not selector.items() <= item.labels.items() or not status.get("podIP"):
                continue
            if status.get("phase") in ("Failed", "Succeeded"):
                continue
            if not ports:
                ports = self._ports(service, pod)
            terminating, serving = "deletionTimestamp" in pod["metadata"], is_ready(pod)
            endpoint = {
                "addresses": [status["podIP"]],
                "conditions": {
                    "ready": publish or (serving and not terminating),
                    "serving": serving or (publish and not terminating),
                    "terminating": terminating,
                },
                "targetRef": {
                    "kind": "Pod",
                    "namespace": namespace,
                    "name": pod["metadata"]["name"],
                    "uid": pod["metadata"]["uid"],
                },
                "nodeName": pod["spec"]["nodeName"],
            }
            endpoints.append((tuple(int(part) for part in status["podIP"].split(".")), endpoint))
        return ports, [endpoint for _, endpoint in sorted(endpoints, key=lambda pair: pair[0])]

    @staticmethod
    def _ports(service: Json, pod: Json) -> list[Json]:
        found: list[Json] = []
        named = {
            port["name"]: port["containerPort"]
            for container in pod["spec"]["containers"]
            for port in container.get("ports") or ()
            if port.get("name")
        }
        for port in service["spec"].get("ports") or ():
            target = port.get("targetPort", port["port"])
            number = named.get(target) if isinstance(target, str) else target
            if number is None:
                continue
            entry: Json = {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"), "port": number}
            if port.get("appProtocol"):
                entry["appProtocol"] = port["appProtocol"]
            found.append(entry)
        return found
