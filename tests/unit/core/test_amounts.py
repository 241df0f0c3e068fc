"""Amounts that cannot be meant."""

from __future__ import annotations

import pytest

from hilbert.core.amounts import check_amount
from hilbert.core.errors import InvalidSpec
from hilbert.core.values import Quantity
from hilbert.providers import quota


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("40m", "did you mean 40Mi? 'm' means a thousandth of a byte"),
        ("128", "did you mean 128Mi? a number alone means bytes"),
        ("64k", "did you mean 64Mi?"),
        ("512Ki", "did you mean 512Mi?"),
        ("0.1Mi", "write it like 128Mi"),
        ("1e3", "write it like 128Mi"),
        ("0", "leave it out for the default limit"),
    ],
)
def test_too_little_memory(text: str, hint: str) -> None:
    with pytest.raises(InvalidSpec, match="in which no function can start") as caught:
        check_amount("limits.memory", "memory", Quantity.parse(text))
    assert caught.value.hint == hint


@pytest.mark.parametrize("text", ["1u", "100n", "0.0009"])
def test_too_little_processor_time(text: str) -> None:
    with pytest.raises(InvalidSpec, match="less than a thousandth of a processor"):
        check_amount("limits.cpu", "cpu", Quantity.parse(text))


@pytest.mark.parametrize(("resource", "text"), [("memory", "1Mi"), ("memory", "2G"), ("cpu", "1m"), ("cpu", "0.5")])
def test_what_can_be_meant(resource: str, text: str) -> None:
    check_amount("limits", resource, Quantity.parse(text))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("com.hilbert.limits.memory", "40m"),
        ("com.hilbert.limits.max-memory", "128"),
        ("com.hilbert.limits.cpu", "1u"),
        ("com.hilbert.quota.memory", "100"),
        ("com.hilbert.quota.cpu", "5u"),
    ],
)
def test_a_namespaces_annotations_are_held_to_the_same(key: str, text: str) -> None:
    with pytest.raises(InvalidSpec, match=f"annotation {key}: {text} is"):
        quota.check_annotations({key: text})


def test_a_quota_may_be_nothing_at_all() -> None:
    quota.check_annotations({"com.hilbert.quota.memory": "0", "com.hilbert.quota.cpu": "0"})
