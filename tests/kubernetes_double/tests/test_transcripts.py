"""Every transcript of a real API server, replayed against the double."""

from __future__ import annotations

import pytest

from kubernetes_double.objects.schema import DATA
from kubernetes_double.replay.cases import CASES, replay


def test_there_is_a_case_for_every_transcript() -> None:
    recorded = {file.stem for file in DATA.glob("*.json")}
    assert recorded == set(CASES)
    assert len(recorded) == 25


@pytest.mark.parametrize("name", sorted(CASES))
async def test_double_answers_as_the_server_did(name: str) -> None:
    """A real difference is there each time. One that a busy machine's timing made is not."""
    for _ in range(3):
        run = await replay(name)
        if not run.findings:
            break
    shown = "\n".join(str(finding) for finding in run.findings[:20])
    assert not run.findings, f"{len(run.findings)} differences in {run.compared} steps:\n{shown}"
    assert run.compared > 0
    assert run.server.controllers.errors == []
