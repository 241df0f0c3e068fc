"""`/metrics`: OpenFaaS's names and labels, and ours."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hilbert.api.metrics import create_metrics_app
from hilbert.api.services import Services
from hilbert.control.activation import Activation
from hilbert.control.call_counts import FunctionTotals, WorkerTotals
from hilbert.core.errors import BackendUnavailable, RateLimited
from hilbert.core.limits import LogUse, Scope
from hilbert.core.model import FunctionStatus
from hilbert.core.settings import Settings
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.providers.memory import MemoryProvider
from support.api import Api, running, serving

pytestmark = pytest.mark.anyio

ENV = FunctionRef.parse("env.dev")


class Code(msgspec.Struct):
    count: int
    seconds: float
    buckets: Sequence[int]


class Function(msgspec.Struct):
    started: int
    inflight: int
    waiting: int
    cold_starts: int
    retries: int
    codes: Mapping[int, Code]


class Worker(msgspec.Struct):
    table_version: int
    table_size: int
    connections: int


class Counted:
    """Totals as a data plane might have them."""

    bounds: Sequence[float] = (0.1, 1.0)
    route_drift = 4

    def functions(self) -> Mapping[FunctionRef, FunctionTotals]:
        codes = {200: Code(5, 2.5, [3, 4]), 500: Code(1, 9.0, [0, 0])}
        return {ENV: Function(started=9, inflight=3, waiting=2, cold_starts=1, retries=7, codes=codes)}

    def workers(self) -> Mapping[str, WorkerTotals]:
        return {"0": Worker(12, 1, 40), "1": Worker(11, 1, 2)}


@contextlib.asynccontextmanager
async def page(services: Services) -> AsyncIterator[Api]:
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    try:
        async with serving(create_metrics_app(services), folder / "m"):
            yield Api(folder / "m", services)
    finally:
        shutil.rmtree(folder)


async def scrape(services: Services) -> dict[str, float]:
    """Every sample by its name and labels, as Prometheus reads it."""
    async with page(services) as metrics:
        answer = await metrics.call("GET", "/metrics", user="")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


async def test_calls_by_function_and_code() -> None:
    async with running(totals=Counted()) as api:
        found = await scrape(api.services)
    assert found['gateway_function_invocation_total{code="200",function_name="env.dev"}'] == 5
    assert found['gateway_function_invocation_total{code="500",function_name="env.dev"}'] == 1
    assert found['gateway_function_invocation_started{function_name="env.dev"}'] == 9
    assert found['gateway_function_invocation_inflight{function_name="env.dev"}'] == 3
    assert found['gateway_functions_seconds_count{code="200",function_name="env.dev"}'] == 5
    assert found['gateway_functions_seconds_sum{code="200",function_name="env.dev"}'] == 2.5
    assert found['gateway_functions_seconds_bucket{code="200",function_name="env.dev",le="0.1"}'] == 3
    assert found['gateway_functions_seconds_bucket{code="200",function_name="env.dev",le="1.0"}'] == 4
    assert found['gateway_functions_seconds_bucket{code="200",function_name="env.dev",le="+Inf"}'] == 5
    assert found['hilbert_calls_waiting{function_name="env.dev"}'] == 2
    assert found['hilbert_cold_starts_total{function_name="env.dev"}'] == 1
    assert found['hilbert_call_retries_total{function_name="env.dev"}'] == 7
    assert found["hilbert_route_drift_total{}"] == 4
    assert found['hilbert_route_table_version{worker="0"}'] == 12
    assert found['hilbert_route_table_size{worker="1"}'] == 1
    assert found['hilbert_client_connections{worker="0"}'] == 40
    assert found["hilbert_workers{}"] == 2


class Logged(MemoryProvider):
    async def log_uses(self) -> Mapping[Scope, LogUse] | None:
        return {("dev", ""): LogUse(2048.0, 4), ("dev", "env"): LogUse(7.5, 0)}


async def test_limits_that_no_worker_counts() -> None:
    """Starts from zero, changes and logs: as long as they are set, whoever asks for them or not."""
    provider = Logged(default_namespace="openfaas-fn")
    try:
        async with running(provider) as api:
            limits = {"starts": "2", "api-writes": "0.5", "log-bytes": "64Ki"}
            annotations = {"openfaas": "1", **{f"com.hilbert.limits.{key}": text for key, text in limits.items()}}
            await api.call("POST", "/system/namespace/", {"name": "dev", "annotations": annotations})
            own = {"com.hilbert.limits.log-bytes": "1Ki"}
            body = {"service": "env", "image": "i", "namespace": "dev", "annotations": own}
            assert (await api.call("POST", "/system/functions", body)).status == 202
            dev = NamespaceName("dev")
            api.services.starts.limit(dev, 2)
            for name in ("env", "b", "c"):
                api.services.starts.may_begin(FunctionRef.parse(f"{name}.dev"))
            for _ in range(5):
                api.services.writes.take(dev, 0.5)
            with contextlib.suppress(RateLimited):
                api.services.writes.take(dev, 0.5)
            found = await scrape(api.services)
    finally:
        await provider.close()

    def told(limit: str, function: str = "") -> tuple[float, float, float]:
        labels = f'{{function="{function}",limit="{limit}",namespace="dev"}}'
        value, used, refused = (found[f"hilbert_limit{end}{labels}"] for end in ("", "_used", "_refused_total"))
        return value, used, refused

    assert told("starts") == (2, 2, 1)
    assert told("api-writes") == (0.5, pytest.approx(5, abs=1), 1)
    assert told("log-bytes") == (65536, 2048, 4)
    assert told("log-bytes", "env") == (1024, 7.5, 0)
    assert len([name for name in found if name.startswith("hilbert_limit{")]) == 4


async def test_finished_calls_are_the_lists_invocation_count() -> None:
    async with running(totals=Counted()) as api:
        await api.call("POST", "/system/namespace/", {"name": "dev", "labels": {"openfaas": "1"}})
        for name in ("env", "other"):
            await api.call("POST", "/system/functions", {"service": name, "image": "i", "namespace": "dev"})
        listed = (await api.call("GET", "/system/functions?namespace=dev")).json
        assert [function.get("invocationCount") for function in listed] == [6, None]


async def test_replicas_of_every_namespace() -> None:
    async with running() as api:
        await api.call("POST", "/system/namespace/", {"name": "dev", "labels": {"openfaas": "1"}})
        labels = {"com.openfaas.scale.min": "2"}
        await api.call(
            "POST", "/system/functions", {"service": "env", "image": "i", "namespace": "dev", "labels": labels}
        )
        await api.call("POST", "/system/functions", {"service": "env", "image": "i"})
        await api.call("POST", "/system/scale-function/env", {"replicas": 0})
        found = await scrape(api.services)
    assert found['gateway_service_count{function_name="env.dev"}'] == 2
    assert found['gateway_service_ready_count{function_name="env.dev"}'] == 2
    assert found['gateway_service_min{function_name="env.dev"}'] == 2
    assert found['gateway_service_count{function_name="env.openfaas-fn"}'] == 0
    assert found['hilbert_functions{phase="ready"}'] == 1
    assert found['hilbert_functions{phase="idle"}'] == 1
    assert found['hilbert_functions{phase="failed"}'] == 0
    assert found["hilbert_up{}"] == 1


async def test_requests_to_the_api_by_route_and_never_by_what_strangers_ask_for() -> None:
    async with running() as api:
        await api.call("GET", "/system/function/one")
        await api.call("GET", "/system/function/two")
        await api.call("GET", "/system/function/two", user="")
        await api.call("GET", "/no/such/path")
        await api.call("PROPFIND", "/system/functions")
        found = await scrape(api.services)
    asked = {key: value for key, value in found.items() if key.startswith("http_requests_total")}
    assert asked == {
        'http_requests_total{method="GET",path="/system/function/{name}",status="404"}': 2,
        'http_requests_total{method="GET",path="other",status="401"}': 1,
        'http_requests_total{method="GET",path="other",status="404"}': 1,
        'http_requests_total{method="other",path="other",status="405"}': 1,
    }
    key = 'http_request_duration_seconds_count{method="GET",path="/system/function/{name}",status="404"}'
    assert found[key] == 2


async def test_wakes_are_counted() -> None:
    provider = MemoryProvider()
    activation = Activation(provider)
    activation.woken = 3
    found = await scrape(Services(provider=provider, settings=Settings(), activation=activation))
    assert found["hilbert_wakes_total{}"] == 3
    assert found['hilbert_build_info{commit="unknown",provider="memory",release="0.1.0"}'] == 1
    await provider.close()


class Away(MemoryProvider):
    async def list(self, namespace: NamespaceName) -> Sequence[FunctionStatus]:
        raise BackendUnavailable("no answer")


async def test_calls_are_told_when_the_provider_is_away() -> None:
    provider = Away()
    found = await scrape(Services(provider=provider, settings=Settings(), totals=Counted()))
    assert found["hilbert_up{}"] == 0
    assert found['gateway_function_invocation_total{code="200",function_name="env.dev"}'] == 5
    await provider.close()


async def test_the_second_listener_has_two_paths() -> None:
    provider = MemoryProvider()
    async with page(Services(provider=provider, settings=Settings())) as metrics:
        health = await metrics.call("GET", "/healthz", user="")
        assert (health.status, health.body) == (200, b"OK")
        head = await metrics.call("HEAD", "/healthz", user="")
        assert (head.status, head.body) == (200, b"")
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert (await metrics.call(method, "/healthz", user="")).status == 405
            assert (await metrics.call(method, "/metrics", user="")).status == 405
        assert (await metrics.call("GET", "/system/functions", user="")).status == 404
    await provider.close()
