"""`/system/alert`, as AlertManager calls it."""

from __future__ import annotations

from typing import Any

import pytest

from support.api import Api

pytestmark = pytest.mark.anyio


def report(*alerts: tuple[str, str]) -> dict[str, Any]:
    return {
        "version": "4",
        "receiver": "scale-up",
        "status": "firing",
        "groupKey": "{}",
        "alerts": [
            {
                "status": status,
                "labels": {"alertname": "APIHighInvocationRate", "function_name": name},
                "annotations": {},
            }
            for status, name in alerts
        ],
    }


async def replicas(api: Api, name: str, namespace: str) -> int:
    found = (await api.call("GET", f"/system/function/{name}?namespace={namespace}")).json
    return int(found.get("replicas", 0))


async def test_up_and_down_again(api: Api) -> None:
    labels = {"com.openfaas.scale.max": "3", "com.openfaas.scale.factor": "50"}
    for namespace in ("openfaas-fn", "dev"):
        body = {"service": "f", "image": "i", "namespace": namespace, "labels": labels}
        assert (await api.call("POST", "/system/functions", body)).status == 202
    for expected in (3, 3):
        answer = await api.call("POST", "/system/alert", report(("firing", "f.dev")))
        assert (answer.status, answer.body) == (200, b"")
        assert await replicas(api, "f", "dev") == expected
    assert await replicas(api, "f", "openfaas-fn") == 1
    assert (await api.call("POST", "/system/alert", report(("resolved", "f.dev")))).status == 200
    assert await replicas(api, "f", "dev") == 1


async def test_a_repeated_report_changes_nothing(api: Api) -> None:
    """Whatever made AlertManager send it again; another alert, and one that had ended, is followed."""
    for name in ("f", "g"):
        await api.call("POST", "/system/functions", {"service": name, "image": "i"})
    for _ in range(3):
        answer = await api.call("POST", "/system/alert", report(("firing", "f"), ("firing", "gone"), ("firing", "g")))
        assert answer.status == 200
        assert "gone" in answer.text
        assert [await replicas(api, name, "openfaas-fn") for name in ("f", "g")] == [5, 5]
    await api.call("POST", "/system/alert", report(("resolved", "f")))
    assert await replicas(api, "f", "openfaas-fn") == 1
    await api.call("POST", "/system/alert", report(("firing", "f")))
    assert await replicas(api, "f", "openfaas-fn") == 5


async def test_what_fails_is_told_and_the_rest_is_done(api: Api) -> None:
    await api.call("POST", "/system/functions", {"service": "f", "image": "i"})
    alerts = report(("firing", "nope.dev"), ("firing", "f"), ("firing", "f.nowhere"), ("firing", ""))
    answer = await api.call("POST", "/system/alert", alerts)
    assert answer.status == 200  # A repetition would scale the others again, and cure nothing.
    assert answer.text.splitlines() == [
        "[0] function nope.dev not found",
        "[1] namespace nowhere not found",
        "[2] the alert has no label function_name",
    ]
    assert await replicas(api, "f", "openfaas-fn") == 5


@pytest.mark.bound("alerts")
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (None, "A body is required for this endpoint\n"),
        (b"{", "Unable to parse alert, bad format.\n"),
        ({"alerts": {}}, "Unable to parse alert, bad format.\n"),
        (report(*[("firing", "f")] * 1001), "1001 alerts; the most is 1000 in one report\n"),
    ],
)
async def test_what_is_no_report(api: Api, body: Any, text: str) -> None:
    answer = await api.call("POST", "/system/alert", body)
    assert (answer.status, answer.text) == (400, text)


async def test_nothing_to_do(api: Api) -> None:
    for body in ({}, {"alerts": None}, {"alerts": []}):
        assert (await api.call("POST", "/system/alert", body)).status == 200
