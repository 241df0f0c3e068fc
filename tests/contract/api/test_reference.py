"""The reference pages name every endpoint, every error code and every metric, and none that is not there."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from hilbert.api.metrics import exposition
from hilbert.api.problems import told
from hilbert.api.services import Services
from hilbert.core.settings import Settings
from hilbert.dataplane import failures
from hilbert.providers.memory import MemoryProvider
from support.api import error_classes, running

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"

LINE = r"^\| `([a-z-]+)` \| ([0-9, ]+) \|"
ROUTERS_OWN = {
    "no-such-path",
    "method-not-allowed",
    "body-too-large",
    "bad-request",
    "internal",
    "unknown-host",
    "unsupported-media-type",
}
WORKERS_OWN = {"too-many-connections", "too-many-calls", "too-many-api-calls"}
"""What a worker answers before the REST API sees the request."""


def test_every_error_code_with_its_status() -> None:
    rest, _, _ = (REFERENCE / "errors.md").read_text().partition("## From calls of functions")
    page = {code: statuses.split(", ") for code, statuses in re.findall(LINE, rest, re.MULTILINE)}
    assert set(page) == {kind.code for kind in error_classes()} | ROUTERS_OWN | WORKERS_OWN
    for kind in error_classes():
        assert str(told(kind).status) in page[kind.code]


def test_every_failure_of_a_call_with_its_status() -> None:
    _, _, calls = (REFERENCE / "errors.md").read_text().partition("## From calls of functions")
    source = ast.parse(inspect.getsource(failures))
    found = [node for node in ast.walk(source) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Failure"]
    expected = {(ast.literal_eval(node.args[1]), str(ast.literal_eval(node.args[0]))) for node in found}
    assert len(expected) >= 9
    assert set(re.findall(LINE, calls, re.MULTILINE)) == expected


ONLY_WITH_NATS = {"queue_worker_nats_reconnect_total"}
"""`test_queues.py` sees these."""


@pytest.mark.anyio
async def test_every_metric() -> None:
    page = set(re.findall(r"^\| `([a-z_]+)` \|", (REFERENCE / "metrics.md").read_text(), re.MULTILINE))
    async with running() as api:
        await api.call("GET", "/system/functions")
        text = (await exposition(api.services)).decode()
    exposed = {
        name for name, kind in re.findall(r"^# TYPE (\w+) (\w+)", text, re.MULTILINE) if not name.endswith("_created")
    }
    assert page - ONLY_WITH_NATS == exposed


@pytest.mark.anyio
async def test_metrics_without_a_data_plane_have_no_samples_of_calls() -> None:
    provider = MemoryProvider()
    text = (await exposition(Services(provider=provider, settings=Settings()))).decode()
    assert "function_name=" not in text
    await provider.close()
