"""A tenant with every right in its namespace tries to change what bounds it: by any field, verb and path (CWE-269, CVE-2026-49823)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hilbert.control.governing import is_governing
from hilbert.core import model, network
from hilbert.core.access import parse_document
from hilbert.core.identity import Action
from hilbert.providers import quota
from support.api import Api, running
from support.issuer import NOW, Issuer, issuer_object, policy_object, role_object

pytestmark = pytest.mark.anyio

KEYS = sorted(
    {
        quota.FUNCTIONS, quota.REPLICAS, quota.SECRETS, *quota.AMOUNTS, *quota.LIMITS,
        model.ANNOTATION_NETWORK, model.ANNOTATION_INGRESS, model.ANNOTATION_ISOLATION, network.ANNOTATION_EGRESS,
        model.ANNOTATION_TIMEOUT_TOTAL,
        "com.hilbert.profiles", "com.hilbert.profiles.allowed", "com.hilbert.constraints.allowed", "com.hilbert.service-accounts",
        "com.hilbert.tenant", "com.hilbert.tenant.quota", "com.hilbert.pod-security", "com.hilbert.network.internet",
        "com.hilbert.network.gateway", "com.hilbert.network.metrics-from", "com.hilbert.anything.new",
        "pod-security.kubernetes.io/enforce", "scheduler.alpha.kubernetes.io/node-selector", "linkerd.io/inject", "istio-injection",
    }
)  # fmt: skip
LIMITED = {"com.hilbert.quota.functions": "1", "com.hilbert.isolation": "files", "team": "a"}


class Tenant:
    """One that a careless administrator gave every action on its namespace."""

    def __init__(self, api: Api, token: str) -> None:
        self.api, self._token = api, token

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        answer = await self.api.call(method, path, body, headers={"Authorization": f"Bearer {self._token}"})
        return answer.status, answer.text

    async def settings(self) -> dict[str, Any]:
        found = (await self.api.call("GET", "/system/namespace/dev")).json
        return {"labels": found["labels"], "annotations": found["annotations"]}


@pytest.fixture
async def tenant() -> AsyncIterator[Tenant]:
    issuer = Issuer()
    async with running(fetch=issuer.fetch, clock=lambda: NOW) as api:
        body = {"name": "dev", "labels": {"openfaas": "1", "a": "b"}, "annotations": LIMITED}
        assert (await api.call("POST", "/system/namespace/", body)).status == 201
        api.services.access.replace(
            parse_document(one)
            for one in (
                issuer_object(issuer),
                policy_object("all-of-dev", ["dev:*", "dev2:*"], ["*", *[action.value for action in Action]]),
                role_object("r", ["all-of-dev"], principal={"jwt:sub": ["alice"]}),
            )
        )
        form = {
            "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
            "subject_token": [issuer.token()],
            "subject_token_type": ["urn:ietf:params:oauth:token-type:id_token"],
        }
        yield Tenant(api, (await api.services.federation.exchange(form)).access_token)


def test_every_setting_of_ours_governs() -> None:
    assert all(is_governing(key) for key in KEYS)
    assert not any(is_governing(key) for key in ("team", "openfaas", "com.example.team", "a.b-c_d"))


@pytest.mark.parametrize("where", ["annotations", "labels"])
@pytest.mark.parametrize("key", KEYS)
async def test_by_any_key(tenant: Tenant, where: str, key: str) -> None:
    before = await tenant.settings()
    value = "2" if before[where].get(key) != "2" else "3"
    for path in ("/system/namespace/dev", "/system/namespaces/dev"):
        wanted = {**before, where: {**before[where], key: value}}
        status, text = await tenant.ask("PUT", path, {"name": "dev", **wanted})
        assert (status, "System:Govern" in text, key in text) == (403, True, True), text
    created = {"name": "dev2", "labels": {"openfaas": "1"}, "annotations": {}}
    status, text = await tenant.ask(
        "POST", "/system/namespace/", {**created, where: {**created[where], "openfaas": "1", key: value}}
    )
    assert (status, "System:Govern" in text) == (403, True), text
    assert await tenant.settings() == before
    assert "dev2" not in (await tenant.api.call("GET", "/system/namespaces")).json


@pytest.mark.parametrize(
    "annotations",
    [{}, {"team": "b"}, {**LIMITED, "com.hilbert.quota.functions": "2"}, {"com.hilbert.isolation": "files"}, {key.upper(): "1" for key in LIMITED}],
)  # fmt: skip
async def test_by_leaving_something_out(tenant: Tenant, annotations: dict[str, str]) -> None:
    before = await tenant.settings()
    body = {"name": "dev", "labels": {"openfaas": "1"}, "annotations": annotations}
    status, text = await tenant.ask("PUT", "/system/namespace/dev", body)
    assert (status, "System:Govern" in text) == (403, True), text
    assert await tenant.settings() == before


async def test_by_removing_the_namespace_and_making_it_anew(tenant: Tenant) -> None:
    for path in ("/system/namespace/dev", "/system/namespaces/dev", "/system/namespace/dev?force=true"):
        status, text = await tenant.ask("DELETE", path)
        assert (status, "System:Govern" in text) == (403, True), text
    assert (await tenant.settings())["annotations"]["com.hilbert.quota.functions"] == "1"


async def test_what_is_its_own_it_may_change(tenant: Tenant) -> None:
    """Without this, the rest would show little."""
    body = {"name": "dev", "labels": {"openfaas": "1", "c": "d"}, "annotations": {**LIMITED, "team": "b"}}
    assert (await tenant.ask("PUT", "/system/namespace/dev", body))[0] == 202
    assert (await tenant.settings())["annotations"]["team"] == "b"
    assert (await tenant.ask("POST", "/system/namespace/", {"name": "dev2", "labels": {"openfaas": "1"}}))[0] == 201
    assert (await tenant.ask("DELETE", "/system/namespace/dev2"))[0] == 202


async def test_by_what_concerns_the_whole_gateway(tenant: Tenant) -> None:
    role = role_object("more", ["all-of-dev"], principal={"jwt:sub": ["mallory"]})
    for method, path, body in (
        ("PUT", "/system/iam", {"documents": [role]}), ("GET", "/system/iam", None), ("DELETE", "/system/iam/roles/r", None),
        ("POST", "/system/iam/rotate-key", None), ("GET", "/system/info", None), ("POST", "/system/alert", {"alerts": []}),
    ):  # fmt: skip
        status, text = await tenant.ask(method, path, body)
        assert (status, " on *" in text) == (403, True), (path, text)


@pytest.mark.parametrize("place", ["annotations", "labels", "envVars"])
async def test_by_a_functions_settings(tenant: Tenant, place: str) -> None:
    """A function's own settings stay the function's: the namespace's limit of one function holds, and its settings are as before."""
    before = await tenant.settings()
    more = {key: "99" for key in KEYS if key.startswith("com.hilbert.quota")}
    for name in ("one", "two"):
        await tenant.ask(
            "POST", "/system/functions?namespace=dev", {"service": name, "image": "i", "namespace": "dev", place: more}
        )
    assert await tenant.settings() == before


async def test_a_token_of_it_has_no_more(tenant: Tenant) -> None:
    """Its tokens are made with the ready-made roles, none of which may change a namespace."""
    status, text = await tenant.ask("POST", "/system/tokens", {"name": "x", "role": "owner", "namespaces": ["dev"]})
    assert status == 201
    made = json.loads(text)["token"]
    body = {"name": "dev", "labels": {"openfaas": "1"}, "annotations": {}}
    answer = await tenant.api.call("PUT", "/system/namespace/dev", body, headers={"Authorization": f"Bearer {made}"})
    assert answer.status == 403


async def test_wrong_bodies_tell_nothing_of_a_namespace_that_is_not_ones_own(tenant: Tenant) -> None:
    await tenant.api.call("POST", "/system/namespace/", {"name": "prod", "annotations": {"openfaas": "1", **LIMITED}})
    for labels in ({"openfaas": "1"}, {"a b": "c"}, {"com.hilbert.x": "\x00"}, b"{", b"", b'{"labels": 7}'):
        seen = {
            name: await tenant.ask(
                "PUT",
                f"/system/namespace/{name}",
                labels if isinstance(labels, bytes) else {"name": name, "labels": labels},
            )
            for name in ("prod", "none")
        }
        assert seen["prod"][0] == seen["none"][0] == 404, seen
        assert seen["prod"][1].replace("prod", "none") == seen["none"][1]
