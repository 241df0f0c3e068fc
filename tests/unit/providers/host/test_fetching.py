"""What a function's status says while its image is fetched."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hilbert.core.model import FunctionSpec, Phase
from hilbert.core.network import NetworkUse
from hilbert.core.values import DEFAULT_NAMESPACE, FunctionName, FunctionRef, NamespaceName
from hilbert.images.model import Step
from hilbert.providers.host.cell import Cell
from hilbert.providers.host.decide import Revision
from hilbert.providers.host.record import FunctionRecord
from hilbert.providers.host.status import render_status

REF = FunctionRef(NamespaceName(DEFAULT_NAMESPACE), FunctionName("slow"))


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Step(phase="resolving"), "resolving"),
        (
            Step(phase="downloading", done=12 << 20, total=107 << 20, layers=1, all_layers=3),
            "downloading, 12 of 107 MiB, 1 of 3 layers",
        ),
        (Step(phase="unpacking", done=5, total=5, layers=0, all_layers=1), "unpacking, 0 of 1 MiB, 0 of 1 layer"),
    ],
)
def test_a_step_in_words(step: Step, text: str) -> None:
    assert step.text() == text


def test_the_status_says_how_far_it_is_and_is_no_failure() -> None:
    cell = Cell(REF)
    spec = FunctionSpec(ref=REF, image="registry.example.com/slow:1")
    record = FunctionRecord(
        uid=1, tenant=1, spec=spec, replicas=1, generation=1, pin="", created_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    status = render_status(cell, record, Revision(1, NetworkUse()), provider="process", fetching="downloading")
    assert (status.phase, status.reason) == (Phase.STARTING, "")
    assert status.message == "fetching its image: downloading"
