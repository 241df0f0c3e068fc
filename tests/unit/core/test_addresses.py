"""Who counts as one source."""

from __future__ import annotations

import pytest

from hilbert.core.addresses import source_of


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::/64"),
        ("192.0.2.7:4321", "192.0.2.7"),
        ("[2001:db8:1:2::9]:4321", "2001:db8:1:2::/64"),
        ("[::ffff:192.0.2.7]:1", "192.0.2.7"),
        ("", ""),
        ("nonsense", ""),
        ("192.0.2.7:", ""),
        ("192.0.2.7:x", ""),
        ("[::1]x", ""),
    ],
)
def test_who_is_one_source(address: str, source: str) -> None:
    assert source_of(address) == source
