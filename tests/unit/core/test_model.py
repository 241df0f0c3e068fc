"""The model's few rules: bounds on replicas from labels, and secrets that do not show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.core.errors import Unsupported
from hilbert.core.model import ScalingPolicy, Secret
from hilbert.core.ports import Diagnostics, Logs, capability
from hilbert.core.values import NamespaceName, SecretName
from hilbert.providers.memory import MemoryProvider


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (None, None, (1, 20)),
        ("2", None, (2, 20)),
        (None, "5", (1, 5)),
        ("3", "3", (3, 3)),
        ("30", None, (30, 30)),
        ("5", "2", (5, 5)),
        ("0", "0", (1, 20)),
        ("-1", "1.5", (1, 20)),
        ("x", "", (1, 20)),
        ("\u0663", "1" * 7, (1, 20)),
    ],
)
def test_bounds_from_labels(low: str | None, high: str | None, expected: tuple[int, int]) -> None:
    given_ = {"com.openfaas.scale.min": low, "com.openfaas.scale.max": high}
    found = ScalingPolicy.of({key: text for key, text in given_.items() if text is not None})
    assert (found.min, found.max) == expected


@given(st.text(), st.text())
def test_any_labels_give_bounds(low: str, high: str) -> None:
    found = ScalingPolicy.of({"com.openfaas.scale.min": low, "com.openfaas.scale.max": high})
    assert 1 <= found.min <= found.max < 10**6


def test_a_secret_does_not_show_its_value() -> None:
    secret = Secret(NamespaceName("dev"), SecretName("token"), b"hunter2")
    assert repr(secret) == "Secret(dev/token, 7 bytes)"
    assert "hunter2" not in f"{secret} {[secret]}"


@pytest.mark.anyio
async def test_a_capability_is_there_or_named_as_missing() -> None:
    provider = MemoryProvider()
    assert capability(provider, Logs) is provider  # type: ignore[type-abstract]  # a Protocol is what is asked for
    with pytest.raises(Unsupported, match="the memory provider has no support for diagnostics"):
        capability(provider, Diagnostics)  # type: ignore[type-abstract]  # a Protocol is what is asked for
    await provider.close()
