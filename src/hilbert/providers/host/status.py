"""A cell as the `FunctionStatus` that the rest of the platform sees."""

from __future__ import annotations

from collections.abc import Mapping

from hilbert.core.model import FunctionStatus, Phase
from hilbert.providers.host.cell import Cell
from hilbert.providers.host.decide import Revision, Stage
from hilbert.providers.host.record import FunctionRecord


def render_status(
    cell: Cell, record: FunctionRecord, wanted: Revision, *, provider: str, fetching: str = ""
) -> FunctionStatus:
    """`wanted` is the revision that replicas should have now; `fetching` is how far the fetch is that they wait for."""
    ready = [
        replica for replica in cell.replicas.values() if replica.stage is Stage.READY and replica.uid == record.uid
    ]
    current = [replica for replica in ready if replica.revision.is_current(wanted)]
    placement: Mapping[str, str] = {"provider": provider}
    for replica in [*ready, *current]:
        placement = {**placement, **replica.placement}
    if frozen := cell.frozen():
        placement = {**placement, "frozen": str(frozen)}
    return FunctionStatus(
        spec=record.spec,
        replicas=record.replicas,
        available=len(ready),
        created_at=record.created_at,
        generation=record.generation,
        ready_generation=max((replica.revision.generation for replica in ready), default=cell.ready_generation),
        phase=_phase(cell, record, ready=len(ready), current=len(current)),
        reason=cell.reason,
        message=f"fetching its image: {fetching}" if fetching else cell.message,
        placement=placement,
        usage=cell.usage if ready else None,
    )


def _phase(cell: Cell, record: FunctionRecord, *, ready: int, current: int) -> Phase:
    if record.replicas == 0:
        return Phase.IDLE
    if current:
        return Phase.READY
    if ready:
        return Phase.UPDATING
    return Phase.FAILED if cell.reason else Phase.STARTING
