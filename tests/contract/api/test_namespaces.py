"""Namespaces over the REST API: what is asked of them, what is refused, what goes with them."""

from __future__ import annotations

from typing import Any

import pytest

from hilbert.core.ports import Provider
from hilbert.providers.memory import MemoryProvider
from support.api import Api, running

pytestmark = pytest.mark.anyio

MARK = {"openfaas": "1"}


@pytest.mark.parametrize(
    "marks",
    [
        {"labels": MARK},
        {"annotations": MARK},
        {"labels": MARK, "annotations": None},
        {"labels": MARK, "annotations": MARK},
    ],
)
async def test_either_mark_makes_a_namespace_and_both_are_kept(api: Api, marks: dict[str, Any]) -> None:
    created = await api.call("POST", "/system/namespace/", {"name": "new", **marks})
    assert (created.status, created.body) == (201, b"")
    found = (await api.call("GET", "/system/namespace/new")).json
    assert found == {"name": "new", "labels": MARK, "annotations": MARK}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("com.hilbert.async.results", "soon", "annotation com.hilbert.async.results: "),
        ("com.hilbert.schedule.timezone", "Mars/Olympus", "annotation com.hilbert.schedule.timezone: "),
        ("com.hilbert.schedule.overlap", "never", "annotation com.hilbert.schedule.overlap: must be"),
        ("com.hilbert.callback.key", "../x", "annotation com.hilbert.callback.key: "),
    ],
)
async def test_a_namespace_is_warned_of_what_no_function_of_it_can_use(
    api: Api, key: str, value: str, said: str
) -> None:
    answer = await api.call("POST", "/system/namespace/", {"name": "new", "annotations": {"openfaas": "1", key: value}})
    assert answer.status == 201
    assert str(answer.headers["x-hilbert-warning"]).startswith(said)


async def test_a_namespace_is_warned_of_settings_that_do_nothing(api: Api) -> None:
    slip = "annotation com.hilbert.quota.function: it is not known and has no effect; did you mean com.hilbert.quota.functions?"
    body = {"name": "new", "labels": MARK, "annotations": {"com.hilbert.quota.function": "3"}}
    created = await api.call("POST", "/system/namespace/", body)
    assert (created.status, created.headers["x-hilbert-warning"]) == (201, slip)
    assert (await api.call("GET", "/system/namespace/new")).json["warnings"] == [slip]
    replaced = await api.call("PUT", "/system/namespace/new", {**body, "annotations": MARK})
    assert (replaced.status, "x-hilbert-warning" in replaced.headers) == (202, False)
    assert "warnings" not in (await api.call("GET", "/system/namespace/new")).json


@pytest.mark.parametrize("marks", [{}, {"labels": {}}, {"labels": {"openfaas": "true"}}, {"annotations": {"x": "1"}}])
async def test_without_a_mark_there_is_no_namespace(api: Api, marks: dict[str, Any]) -> None:
    answer = await api.call("POST", "/system/namespace/", {"name": "new", **marks})
    assert answer.status == 400
    assert answer.text.splitlines()[0] == "request does not have openfaas=1 label"
    assert (await api.call("GET", "/system/namespace/new")).status == 404


@pytest.mark.parametrize("name", ["kube-system", "kube-public", "kube-node-lease", "openfaas", "hilbert"])
async def test_reserved_names_are_refused(api: Api, name: str) -> None:
    body = {"name": name, "labels": MARK}
    created = await api.call("POST", "/system/namespace/", body)
    assert created.status == 403
    assert name in created.text
    assert (await api.call("GET", f"/system/namespace/{name}")).status == 404
    assert (await api.call("GET", f"/system/namespace/{name}?deleting=true")).status == 404
    assert (await api.call("PUT", f"/system/namespace/{name}", body)).status == 403
    assert (await api.call("DELETE", f"/system/namespace/{name}", body)).status == 403


async def test_the_platforms_own_namespace_is_reserved_by_its_setting(api: Api) -> None:
    from hilbert.core.settings import KubernetesSettings, Settings

    settings = Settings(kubernetes=KubernetesSettings(platform_namespace="gateway-system"))
    async with running(settings=settings) as other:
        body = {"name": "gateway-system", "labels": MARK}
        assert (await other.call("POST", "/system/namespace/", body)).status == 403


async def test_the_default_namespace_cannot_be_deleted(api: Api) -> None:
    answer = await api.call("DELETE", "/system/namespace/openfaas-fn", {"name": "openfaas-fn"})
    assert answer.status == 403
    assert "openfaas-fn" in (await api.call("GET", "/system/namespaces")).json


async def test_the_plural_path_of_the_documentation_works(api: Api) -> None:
    body = {"name": "dev", "annotations": {**MARK, "tier": "3"}}
    assert (await api.call("PUT", "/system/namespaces/dev", body)).status == 202
    assert (await api.call("GET", "/system/namespaces/dev")).json["annotations"]["tier"] == "3"
    assert (await api.call("DELETE", "/system/namespaces/dev", {"name": "dev"})).status == 202


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_path_without_a_name(api: Api, method: str) -> None:
    answer = await api.call(method, "/system/namespace/", {"name": "dev"} if method != "GET" else None)
    assert (answer.status, answer.text) == (400, "namespace not specified in URL\n")


@pytest.mark.parametrize("body", [None, b"", b"  ", {}, {"name": ""}, {"name": None, "labels": MARK}])
async def test_a_create_without_a_name(api: Api, body: Any) -> None:
    answer = await api.call("POST", "/system/namespace/", body)
    assert (answer.status, answer.text) == (400, "namespace not specified in request body\n")


async def test_a_create_that_is_no_json(api: Api) -> None:
    answer = await api.call("POST", "/system/namespace/", b"{")
    assert answer.status == 400
    assert answer.text.startswith("error parsing request body: ")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_body_and_url_must_agree(api: Api, method: str) -> None:
    answer = await api.call(method, "/system/namespace/dev", {"name": "other", "labels": MARK})
    assert (answer.status, answer.text) == (400, "namespace in request body does not match namespace in URL\n")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("name", ["nowhere", "UPPER", "a_b", "a.b", "x" * 64])
async def test_what_does_not_exist_is_404(api: Api, method: str, name: str) -> None:
    answer = await api.call(method, f"/system/namespace/{name}", {"name": name} if method != "GET" else None)
    assert (answer.status, answer.text) == (404, f"namespace {name} not found\n")


async def test_delete_needs_no_body(api: Api) -> None:
    assert (await api.call("DELETE", "/system/namespace/dev")).status == 202


async def test_deleting_takes_everything_with_it(api: Api) -> None:
    await api.call("POST", "/system/secrets", {"name": "s", "namespace": "dev", "value": "1"})
    await api.call("POST", "/system/functions", {"service": "f", "image": "i", "namespace": "dev", "secrets": ["s"]})
    await api.call("POST", "/system/functions", {"service": "f", "image": "i"})
    assert (await api.call("DELETE", "/system/namespace/dev", {"name": "dev"})).status == 202
    assert (await api.call("GET", "/system/secrets?namespace=dev")).text == "namespace not valid\n"
    await api.call("POST", "/system/namespace/", {"name": "dev", "labels": MARK})
    assert (await api.call("GET", "/system/secrets?namespace=dev")).json == []
    assert (await api.call("GET", "/system/functions?namespace=dev")).json == []
    assert len((await api.call("GET", "/system/functions")).json) == 1


@pytest.mark.parametrize(
    "annotations", [{"com.hilbert.timeout.total": "soon"}, {"com.hilbert.network": "maybe"}, {"bad key": "1"}]
)
async def test_annotations_without_a_meaning_are_refused(api: Api, annotations: dict[str, str]) -> None:
    body = {"name": "new", "annotations": {**MARK, **annotations}}
    answer = await api.call("POST", "/system/namespace/", body)
    assert answer.status == 400
    (key,) = annotations
    assert key in answer.text
    assert (await api.call("PUT", "/system/namespace/dev", {**body, "name": "dev"})).status == 400


class OneNamespace:
    """A provider that cannot make namespaces."""

    name = "small"

    def __init__(self, inner: Provider) -> None:
        self.list = inner.list
        self.get = inner.get
        self.apply = inner.apply
        self.scale = inner.scale
        self.remove = inner.remove
        self.watch = inner.watch


async def test_a_provider_without_namespaces_says_501() -> None:
    inner = MemoryProvider()
    async with running(OneNamespace(inner)) as api:
        assert (await api.call("GET", "/system/namespaces")).json == ["openfaas-fn"]
        assert (await api.call("GET", "/system/functions")).json == []
        refused = await api.call("POST", "/system/namespace/", {"name": "dev", "labels": MARK})
        assert (refused.status, refused.text) == (501, "the small provider has no support for namespaces\n")
        assert (await api.call("GET", "/system/functions?namespace=dev")).text == "namespace not valid\n"
        assert (await api.call("GET", "/system/secrets")).status == 501
        assert (await api.call("GET", "/system/logs?name=f")).status == 501
    await inner.close()
