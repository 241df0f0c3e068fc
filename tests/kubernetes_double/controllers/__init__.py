"""The cluster's own loops in miniature: namespaces, deployments, replica sets, Pods, endpoints, garbage, quota."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from kubernetes_double.controllers.base import Controller
from kubernetes_double.controllers.definitions import DefinitionController
from kubernetes_double.controllers.deployments import DeploymentController
from kubernetes_double.controllers.endpoints import EndpointController
from kubernetes_double.controllers.garbage import GarbageCollector
from kubernetes_double.controllers.kubelet import Kubelet
from kubernetes_double.controllers.namespaces import NamespaceFurnisher, NamespaceRemover
from kubernetes_double.controllers.quota import QuotaController
from kubernetes_double.controllers.replicasets import ReplicaSetController
from kubernetes_double.controllers.scheduler import Scheduler

if TYPE_CHECKING:
    from kubernetes_double.server import ApiServer

NAMES: Final = frozenset(
    {
        "definitions",
        "furnish",
        "remove",
        "garbage",
        "quota",
        "deployments",
        "replicasets",
        "scheduler",
        "kubelet",
        "endpoints",
    }
)


class Controllers:
    """Starts and stops them."""

    def __init__(self, server: ApiServer, *, only: frozenset[str] = NAMES) -> None:
        self.kubelet = Kubelet(server)
        self.garbage = GarbageCollector(server)
        every: dict[str, Controller] = {
            "definitions": DefinitionController(server),
            "furnish": NamespaceFurnisher(server),
            "remove": NamespaceRemover(server),
            "garbage": self.garbage,
            "quota": QuotaController(server),
            "deployments": DeploymentController(server),
            "replicasets": ReplicaSetController(server),
            "scheduler": Scheduler(server),
            "kubelet": self.kubelet,
            "endpoints": EndpointController(server),
        }
        self._chosen = {name: every[name] for name in every if name in only}

    @property
    def errors(self) -> list[str]:
        """What went wrong inside the controllers; empty in a sound test."""
        return [error for controller in self._chosen.values() for error in controller.errors]

    def has(self, name: str) -> bool:
        return name in self._chosen

    def start(self) -> None:
        for controller in self._chosen.values():
            controller.start()

    async def stop(self) -> None:
        for controller in self._chosen.values():
            await controller.stop()

    async def settled(self, *, quiet: int = 20) -> None:
        """Wait until no controller has anything to do, for some turns of the loop in a row."""
        calm = 0
        while calm < quiet:
            calm = calm + 1 if all(controller.idle for controller in self._chosen.values()) else 0
            await asyncio.sleep(0.001)
