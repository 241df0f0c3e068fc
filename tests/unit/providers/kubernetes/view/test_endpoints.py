"""Which addresses are called."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hilbert.core.model import Endpoint
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.view.endpoints import collect


def slice_of(*found: dict[str, Any], ports: Any = ({"name": "http", "port": 8080},)) -> Any:
    body = {"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": found, "ports": ports}
    return kinds.SLICES.decode(msgspec.json.encode(body))


def entry(name: str, address: str = "192.0.2.1", kind: str = "Pod", **conditions: bool) -> dict[str, Any]:
    target = {"kind": kind, "name": name, "uid": f"uid-{name}"}
    return {"addresses": [address], "conditions": conditions, "targetRef": target}


ALIVE = {"uid-a", "uid-b"}


def test_ready_pods_by_name() -> None:
    found = collect([slice_of(entry("b", "192.0.2.2", ready=True), entry("a"))], ALIVE)
    assert found == (Endpoint("a", "tcp:192.0.2.1:8080"), Endpoint("b", "tcp:192.0.2.2:8080"))


@pytest.mark.parametrize(
    "bad",
    [
        entry("a", ready=False),
        entry("a", ready=True, serving=True, terminating=True),
        entry("stranger", "169.254.169.254", ready=True),
        entry("a", kind="Node"),
        entry("a", "metadata.example.com"),
        {"addresses": ["192.0.2.9"], "conditions": {"ready": True}},
        {**entry("a"), "addresses": []},
    ],
)
def test_others_are_not_called(bad: dict[str, Any]) -> None:
    assert collect([slice_of(bad)], ALIVE) == ()


def test_at_zero_the_lists_are_null() -> None:
    body = {"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": None, "ports": None}
    assert collect([kinds.SLICES.decode(msgspec.json.encode(body))], ALIVE) == ()


def test_one_address_a_pod_ipv4_first_whatever_the_order() -> None:
    six, four = slice_of(entry("a", "2001:db8::1")), slice_of(entry("a", "192.0.2.1"))
    assert collect([six, four], ALIVE) == collect([four, six], ALIVE) == (Endpoint("a", "tcp:192.0.2.1:8080"),)
    assert collect([six], ALIVE) == (Endpoint("a", "tcp:[2001:db8::1]:8080"),)
