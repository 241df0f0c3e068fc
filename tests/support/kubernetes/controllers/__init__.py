"""The cluster's own loops in miniature: namespaces, deployments, replica sets, Pods, endpoints, garbage, quota."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from support.kubernetes.controllers.base import Controller
from support.kubernetes.controllers.definitions import DefinitionController
from support.kubernetes.controllers.deployments import DeploymentController
from support.kubernetes.controllers.endpoints import EndpointController
from support.kubernetes.controllers.garbage import GarbageCollector
from support.kubernetes.controllers.kubelet import Kubelet
from support.kubernetes.controllers.namespaces import NamespaceFurnisher, NamespaceRemover
from support.kubernetes.controllers.quota import QuotaController
from support.kubernetes.controllers.replicasets import ReplicaSetController
from support.kubernetes.controllers.scheduler import Scheduler

if TYPE_CHECKING:
    from support.kubernetes.server import ApiServer

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
