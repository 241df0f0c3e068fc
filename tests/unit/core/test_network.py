"""The annotations of a function's network: what is understood, what is refused, and what is narrower than what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.core.errors import Invalid
from hilbert.core.network import ITEMS_MOST, Destination, Egress, NetworkKind, NetworkUse


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("internet", Egress()),
        ("none", Egress(internet=False)),
        ("10.1.0.0/16", Egress(False, (Destination("10.1.0.0/16"),))),
        ("10.1.0.7:5432", Egress(False, (Destination("10.1.0.7/32", 5432, 5432),))),
        ("10.1.0.7:53/udp", Egress(False, (Destination("10.1.0.7/32", 53, 53, "udp"),))),
        ("10.1.0.7/udp", Egress(False, (Destination("10.1.0.7/32", protocol="udp"),))),
        ("internet, 10.1.0.0/16:8000-9000", Egress(True, (Destination("10.1.0.0/16", 8000, 9000),))),
        (
            "10.2.0.0/16,10.1.0.0/16,10.2.0.0/16",
            Egress(False, (Destination("10.1.0.0/16"), Destination("10.2.0.0/16"))),
        ),
    ],
)
def test_what_is_understood(text: str, meaning: Egress) -> None:
    assert Egress.parse(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "internet,", "Internet", "none,internet", "10.1.0.0/16,none", "10.1.0.1/16", "10.1.0.0/33", "256.1.1.1", "10.1",
        "10.1.0.7:0", "10.1.0.7:65536", "10.1.0.7:9000-8000", "10.1.0.7:", "10.1.0.7/icmp", "::/0", "fd00::1", "example.com",
        "10.1.0.7; flush ruleset", "10.1.0.7\n10.1.0.8", "10.1.0.7 }", "\u0661\u0660.1.0.7", ",".join(f"10.0.0.{n}" for n in range(65)),
    ],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"annotation com\.hilbert\.egress: "):
        Egress.parse(text)


destinations = st.builds(
    Destination,
    st.integers(0, 255).map(lambda n: f"10.{n}.0.0/16"),
    st.just(443),
    st.integers(443, 65535),
    st.sampled_from(["", "tcp", "udp"]),
)


@pytest.mark.bound("egress-items")
def test_a_list_of_destinations_is_bounded() -> None:
    items = [f"192.0.2.{number}" for number in range(ITEMS_MOST + 1)]
    Egress.parse(",".join(items[1:]))
    with pytest.raises(Invalid, match="at most"):
        Egress.parse(",".join(items))


egresses = st.builds(
    Egress, st.booleans(), st.lists(destinations, max_size=5).map(lambda found: tuple(sorted(set(found))))
)


@given(egresses)
def test_what_is_printed_means_the_same(egress: Egress) -> None:
    assert Egress.parse(str(egress)) == egress
    use = NetworkUse(NetworkKind.TENANT, egress)
    assert NetworkUse.parse(str(use)) == use


@given(egresses, egresses)
def test_narrower_is_what_allows_less(one: Egress, other: Egress) -> None:
    assert one.within(one)
    assert Egress(internet=False).within(one)
    if one.within(other) and other.within(one):
        assert one == other
    for kind in (NetworkKind.TENANT, NetworkKind.HOST):
        assert NetworkUse(NetworkKind.NONE).within(NetworkUse(kind, one))
    assert NetworkUse(NetworkKind.TENANT, one).within(NetworkUse(NetworkKind.HOST))
    assert not NetworkUse(NetworkKind.HOST).within(NetworkUse(NetworkKind.TENANT, one))
