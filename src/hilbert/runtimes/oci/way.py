"""Which sandbox an image's replica gets, and as whom it runs there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

import msgspec

from hilbert.core.errors import InvalidSpec, StartFailed
from hilbert.core.isolation import Promise, render_promises
from hilbert.core.ports import ReplicaPlan
from hilbert.images.model import LocalImage
from hilbert.runtimes.oci import id_maps, user_ids
from hilbert.runtimes.oci.engines import Engines, EngineSandbox
from hilbert.runtimes.oci.program import Program
from hilbert.runtimes.oci.sandbox import Bubblewrap
from hilbert.runtimes.oci.survey import Abilities
from hilbert.runtimes.process.machine import Machine


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How one replica is started."""

    sandbox: Bubblewrap | EngineSandbox
    user: tuple[int, int] | None = None
    """User and group that the launcher is to know it by, None: those of this process."""
    owner: tuple[int, int] | None = None
    """Those here, as root."""
    block: tuple[int, int] | None = None
    """Ids here for those of the image, where the sandbox maps them itself."""
    id_map: id_maps.Maps | None = None
    many: bool = False
    """Others than its first user are to read its secrets."""
    runs_as: str = ""
    """In words, where it is not one user."""

    @property
    def may_wait(self) -> bool:
        """It can move into a spare network: whose process has this user's id alone, and as root all."""
        return isinstance(self.sandbox, Bubblewrap) or os.geteuid() == 0

    def arguments(self, program: Program, *, host: str, writable: bool, bound: bool) -> bytes:
        """What the sandbox reads at its descriptor."""
        if isinstance(self.sandbox, Bubblewrap):
            return self.sandbox.arguments(program, host=host, bound=bound)
        return self.sandbox.arguments(program, host=host, writable=writable, block=self.block)


class Ways:
    """Chooses among what works here."""

    def __init__(
        self, machine: Machine, bubblewrap: Bubblewrap, abilities: Abilities, engines: asyncio.Task[Engines]
    ) -> None:
        self._machine = machine
        self._bubblewrap = bubblewrap
        self._abilities = abilities
        self._engines = engines

    def check(self, annotations: Mapping[str, str], required: frozenset[Promise]) -> frozenset[Promise]:
        """Which of the promises can never be held here, as far as that is known by now. Raises `InvalidSpec`."""
        user_ids.check_choice(annotations)
        limits = self._machine.limits_hold
        if Promise.KERNEL not in required:
            return required - self._bubblewrap.promises(limits=limits)
        if not self._engines.done():
            return frozenset()
        gvisor = self._engines.result().gvisor
        if gvisor is None:
            raise InvalidSpec(
                f"gVisor is required here and does not work: {self._engines.result().why_no_gvisor}",
                hint="install runsc and restart Hilbert",
            )
        return required - gvisor.promises(limits=limits)

    async def choose(self, plan: ReplicaPlan, image: LocalImage, program: Program) -> Way:
        """Raises `StartFailed` for what would take more than there is here."""
        if Promise.KERNEL in plan.required:
            return await self._gvisor(plan)
        why = await asyncio.to_thread(user_ids.why_many, image.root, program, plan.spec.annotations)
        if why:
            return await self._many(plan, image, program, why)
        user = self._machine.user(plan.tenant)
        inside = program.user, program.group
        id_map = id_maps.one_user(inside, user) if self._abilities.id_map and user is not None else None
        return Way(sandbox=self._bubblewrap, user=user, owner=user, id_map=id_map)

    async def _gvisor(self, plan: ReplicaPlan) -> Way:
        engines = await asyncio.shield(self._engines)
        if engines.gvisor is None:
            raise StartFailed(
                f"gVisor is required here and does not work: {engines.why_no_gvisor}",
                hint="install runsc and restart Hilbert",
            )
        self._insist(engines.gvisor, plan)
        return Way(sandbox=engines.gvisor, many=True, runs_as="the image's own, in gVisor")

    async def _many(self, plan: ReplicaPlan, image: LocalImage, program: Program, why: str) -> Way:
        engines = await asyncio.shield(self._engines)
        needs = f"image {image.name} needs several user ids, since {why}"
        if engines.many_ids is None:
            raise StartFailed(
                f"{needs}, and no container runtime that gives them works here: {engines.why_no_many_ids}",
                hint=f"install crun and restart Hilbert, or say {user_ids.ANNOTATION_USER_IDS}: one if it never changes its user",
            )
        self._insist(engines.many_ids, plan)
        if max(program.user, program.group) >= user_ids.BLOCK:
            raise StartFailed(
                f"{needs}; it starts as {program.user}:{program.group}, and its ids end at {user_ids.BLOCK - 1}"
            )
        if os.geteuid() != 0:
            return Way(
                sandbox=engines.many_ids, user=(program.user, program.group), many=True, runs_as="ids from /etc/subuid"
            )
        block = self._machine.block(plan.tenant)
        if block is None:
            raise StartFailed(
                f"{needs}, and this installation has given a block of ids to as many namespaces as it can"
            )
        first, count = block
        owner = first + program.user, first + program.group
        return Way(
            sandbox=engines.many_ids,
            user=owner,
            owner=owner,
            block=block,
            id_map=id_maps.block(first, count),
            many=True,
            runs_as=f"{first} to {first + count - 1}",
        )

    def _insist(self, sandbox: EngineSandbox, plan: ReplicaPlan) -> None:
        missing = plan.required - sandbox.promises(limits=self._machine.limits_hold)
        if missing:
            raise StartFailed(
                f"under {sandbox.name}, the function would run without isolation that is required here: "
                f"{render_promises(missing)} missing"
            )
