"""What OpenFaaS's certifier suite checks about the REST API."""

from __future__ import annotations

from typing import Any

import pytest

from support.api import Api

pytestmark = pytest.mark.anyio

NIL_MAPS = {"service": "env-test", "image": "functions/alpine:latest", "envProcess": "env", "labels": None}


async def deployed(api: Api, **extra: Any) -> dict[str, Any]:
    body = {**NIL_MAPS, "annotations": None, **extra}
    answer = await api.call("POST", "/system/functions", body)
    assert answer.status == 202, answer
    found: dict[str, Any] = (await api.call("GET", "/system/function/env-test")).json
    return found


async def test_nil_maps_are_empty(api: Api) -> None:
    found = await deployed(api, envVars=None, constraints=None, secrets=None, limits=None, requests=None)
    assert found["labels"] == {"faas_function": "env-test"}
    assert found["annotations"] == {}
    assert not {"envVars", "limits", "requests", "constraints", "secrets"} & set(found)


async def test_an_image_comes_back_as_it_went_in(api: Api) -> None:
    image = "docker.io/Functions/Alpine@sha256:0123456789abcdef"
    assert (await deployed(api, image=image))["image"] == image


async def test_limits_and_requests_come_back_as_text(api: Api) -> None:
    limits = {"memory": "0.5Gi", "cpu": "100m"}
    found = await deployed(api, limits=limits, requests={"memory": "32Mi"})
    assert (found["limits"], found["requests"]) == (limits, {"memory": "32Mi"})


async def test_empty_limits_are_no_limits(api: Api) -> None:
    assert "limits" not in await deployed(api, limits={"memory": "", "cpu": ""}, requests={})


async def test_labels_annotations_and_a_read_only_root(api: Api) -> None:
    found = await deployed(
        api, labels={"a": "1"}, annotations={"topic": 'cron, "x"'}, readOnlyRootFilesystem=True, envVars={"A": "b"}
    )
    assert found["labels"] == {"a": "1", "faas_function": "env-test"}
    assert found["annotations"] == {"topic": 'cron, "x"'}
    assert found["readOnlyRootFilesystem"] is True
    assert found["envVars"] == {"A": "b"}


async def test_a_least_scale_shows_at_once(api: Api) -> None:
    assert (await deployed(api, labels={"com.openfaas.scale.min": "2"}))["replicas"] == 2


async def test_scaled_to_zero_has_no_replicas_and_no_counters(api: Api) -> None:
    await deployed(api)
    scaled = await api.call("POST", "/system/scale-function/env-test", {"serviceName": "env-test", "replicas": 0})
    assert scaled.status == 202
    found = (await api.call("GET", "/system/function/env-test")).json
    assert not {"replicas", "availableReplicas"} & set(found)


async def test_lists_are_exact(api: Api) -> None:
    await deployed(api)
    assert [found["name"] for found in (await api.call("GET", "/system/functions")).json] == ["env-test"]
    assert (await api.call("GET", "/system/namespaces")).json == ["dev", "openfaas-fn"]


async def test_a_secret_must_exist_before_its_function(api: Api) -> None:
    missing = await api.call("POST", "/system/functions", {**NIL_MAPS, "secrets": ["token"]})
    assert (missing.status, missing.text) == (400, "unable to find secret: token\n")
    await api.call("POST", "/system/secrets", {"name": "token", "value": "x"})
    assert (await api.call("POST", "/system/functions", {**NIL_MAPS, "secrets": ["token"]})).status == 202


@pytest.mark.parametrize("field", ["network", "registryAuth", "somethingNew"])
async def test_fields_of_other_versions_are_passed_over(api: Api, field: str) -> None:
    await deployed(api, **{field: {"deep": [1, None]}})


async def test_the_old_portal_deletes_by_query(api: Api) -> None:
    await api.call("POST", "/system/functions", {**NIL_MAPS, "namespace": "dev", "network": "func_functions"})
    answer = await api.call("DELETE", "/system/functions?namespace=dev", {"functionName": "env-test"})
    assert answer.status == 202
    assert (await api.call("GET", "/system/functions?namespace=dev")).json == []
