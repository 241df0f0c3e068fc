"""Drift: containment in Kubernetes' sense."""

from __future__ import annotations

from typing import Any

import pytest

from hilbert.providers.kubernetes.render.drift import contains


@pytest.mark.parametrize(
    ("want", "have"),
    [
        ({"a": 1}, {"a": 1, "defaulted": True}),
        ({"cpu": "0.5"}, {"cpu": "500m"}),
        ({"memory": "1073741824"}, {"memory": "1Gi"}),
        ({"initialDelaySeconds": 0, "env": [], "resources": {}}, {}),
        ([{"name": "b", "x": 1}], [{"name": "a"}, {"name": "b", "x": 1, "y": 2}]),
        (["ALL"], ["ALL"]),
        ([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],) * 2,
    ],
)
def test_contained(want: Any, have: Any) -> None:
    assert contains(want, have)


@pytest.mark.parametrize(
    ("want", "have"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": {"b": 1}}, {"a": None}),
        ({"image": "x:1"}, {"image": "x:2"}),
        ([{"name": "b", "x": 1}], [{"name": "a", "x": 1}]),
        (["ALL"], ["ALL", "MORE"]),
        (["ALL"], None),
        ({"privileged": False}, {"privileged": True}),
        ({"cpu": "1"}, {"cpu": "2"}),
        ([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}], [{"port": 53, "protocol": "TCP"}]),
    ],
)
def test_not_contained(want: Any, have: Any) -> None:
    assert not contains(want, have)
