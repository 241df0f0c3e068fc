"""The cluster's own loops in miniature: namespaces, deployments, replica sets, Pods, endpoints, garbage, quota."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.kubernetes.server import ApiServer


class Controllers:
    """Starts and stops them all."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    def start(self) -> None:
        return

    async def stop(self) -> None:
        return
