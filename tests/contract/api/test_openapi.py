"""The description of the API against the API itself: its routes, and requests made from it, fitting and unfitting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as openapi_checks

from hilbert.api.app import create_app, server_config
from hilbert.api.endpoints import DESCRIBED, ENDPOINTS
from hilbert.api.oauth import DISCOVERY, KEYS, TOKEN
from hilbert.api.openapi import document
from hilbert.api.services import Services
from hilbert.control.delivery.intake import Intake
from hilbert.control.delivery.room import Rooms
from hilbert.control.leader import SoleLeader
from hilbert.control.schedules.firing import Firing
from hilbert.control.usage import Ledger
from hilbert.core.errors import QuotaExceeded
from hilbert.core.identity import Action
from hilbert.core.model import FunctionSpec, ScalingPolicy
from hilbert.core.settings import Settings
from hilbert.core.values import FunctionRef
from hilbert.iam.sqlite_shelf import SqliteShelves
from hilbert.providers.memory import MemoryProvider
from hilbert.queues.memory import MemoryQueue
from support.api import CREDENTIALS, Api, Recorded, signing_in

DESCRIPTION = document(DESCRIBED)


def test_the_description_has_every_documented_endpoint() -> None:
    described = {(path, method) for path, methods in DESCRIPTION["paths"].items() for method in methods}
    assert described == {(found.path, found.method.lower()) for found in ENDPOINTS if found.documented}
    assert len(described) >= 28


def test_every_operation_needs_the_password_but_health() -> None:
    assert DESCRIPTION["security"] == [{"basic": []}]
    for path, methods in DESCRIPTION["paths"].items():
        for operation in methods.values():
            assert ("security" in operation) == (path in PUBLIC)
            assert ("401" in operation["responses"]) == (path not in PUBLIC)


def test_every_other_operation_names_its_right() -> None:
    actions = [operation.get("x-action") for methods in DESCRIPTION["paths"].values() for operation in methods.values()]
    assert actions.count(None) == len(PUBLIC) + len({"/system/whoami", "/system/can-i"})
    assert {action for action in actions if action} == {action.value for action in Action} - {
        Action.FUNCTION_PAYLOAD,
        Action.SYSTEM_GOVERN,
    }


@pytest.mark.anyio
async def test_the_page_and_the_document_are_served(api: Api) -> None:
    page = await api.call("GET", "/openapi/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    served = await api.call("GET", "/openapi/openapi.json")
    assert served.json == DESCRIPTION


class Small(MemoryProvider):
    """Refuses more replicas than a test wants to start."""

    async def apply(self, spec: FunctionSpec, *, create: bool | None = None) -> None:
        if ScalingPolicy.of(spec.labels).min > 3:
            raise QuotaExceeded("at most 3 replicas")
        await super().apply(spec, create=create)

    async def scale(self, ref: FunctionRef, replicas: int) -> None:
        if replicas > 3:
            raise QuotaExceeded("at most 3 replicas")
        await super().scale(ref, replicas)


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API on a TCP port of its own, in a thread."""
    ready = threading.Event()
    port = 0
    server: uvicorn.Server

    async def serve() -> None:
        nonlocal server, port
        provider = Small()
        queue = MemoryQueue()
        shelves = SqliteShelves(tmp_path_factory.mktemp("tokens") / "tokens.db")
        services = Services(
            provider=provider,
            settings=Settings(),
            credentials=CREDENTIALS,
            audit_source=Recorded(),
            ledger=Ledger(dict, default_memory=0),
            **await signing_in(shelves),
            intake=Intake(queue, rooms=Rooms(provider)),
            firing=Firing(queue, provider, leader=SoleLeader(), rooms=Rooms(provider)),
        )
        config = server_config(create_app(services))
        config.host, config.port = "127.0.0.1", 0
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        port = server.servers[0].sockets[0].getsockname()[1]
        ready.set()
        await server.main_loop()
        await server.shutdown()
        await provider.close()
        shelves.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(20)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


SCHEMA = schemathesis.openapi.from_dict(DESCRIPTION)
TAKES_NOTHING = {"/healthz", "/readyz", DISCOVERY, KEYS}
PUBLIC = {*TAKES_NOTHING, TOKEN}
OPERATIONS = [(path, method) for path, methods in DESCRIPTION["paths"].items() for method in methods]


FITTING = [(path, method, GenerationMode.POSITIVE) for path, method in OPERATIONS]
UNFITTING = [(path, method, GenerationMode.NEGATIVE) for path, method in OPERATIONS if path not in TAKES_NOTHING]


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [*FITTING, *UNFITTING],
    ids=[f"{mode.value} {method} {path}" for path, method, mode in (*FITTING, *UNFITTING)],
)
def test_requests_made_from_the_description(base_url: str, path: str, method: str, mode: GenerationMode) -> None:
    """Every answer has a status, a content type and a body that the description names."""
    operation = SCHEMA[path][method]
    told = DESCRIPTION["paths"][path][method]["responses"]
    checks = CONFORMANCE if "500" in told else [not_a_server_error, *CONFORMANCE]  # AlertManager is told with 500.

    @settings(max_examples=12, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode), plausible=st.booleans())
    def run(case: Any, plausible: bool) -> None:
        if case.query:
            case.query.pop("follow", None)  # A followed log never ends.
        if plausible:
            make_plausible(case)
        response = case.call(base_url=base_url, auth=(CREDENTIALS.user, CREDENTIALS.password), timeout=20)
        case.validate_response(response, checks=checks)

    run()


CONFORMANCE = [
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
]


def make_plausible(case: Any) -> None:
    """Names that exist or could, where names belong, so that requests get past the first look at them."""
    if case.query:
        case.query.pop("namespace", None)
        case.query.update({"name": "f"} if "name" in case.query else {})
    if isinstance(case.path_parameters, dict) and "name" in case.path_parameters:
        case.path_parameters["name"] = "dev" if "namespace" in case.operation.path else "f"
    if isinstance(case.body, dict):
        for field in ("labels", "annotations", "envVars", "limits", "requests", "secrets", "constraints", "rawValue"):
            case.body.pop(field, None)
        known = {
            "service": "f",
            "functionName": "f",
            "name": "dev",
            "namespace": "openfaas-fn",
            "image": "i",
            "replicas": 2,
        }
        case.body.update({field: value for field, value in known.items() if field in PROPERTIES[case.operation.label]})
        case.body.update({"labels": {"openfaas": "1"}} if "namespace" in case.operation.path else {})


def properties(operation: dict[str, Any]) -> set[str]:
    """The fields of an operation's body."""
    content = operation.get("requestBody", {}).get("content", {})
    names = [entry["schema"]["$ref"].rpartition("/")[2] for entry in content.values() if "$ref" in entry["schema"]]
    return {field for name in names for field in DESCRIPTION["components"]["schemas"][name]["properties"]}


PROPERTIES = {
    f"{method.upper()} {path}": properties(operation)
    for path, methods in DESCRIPTION["paths"].items()
    for method, operation in methods.items()
}
