"""The limits of a call and its line in the access log."""

from __future__ import annotations

import pytest

from hilbert.watchdog.call import limit_of


@pytest.mark.parametrize(
    ("asked", "limits", "limit"),
    [
        (b"", (30, 60), 30),
        (b"", (0, 60), 60),
        (b"", (0, 0), 0),
        (b"5s", (30, 60), 5),
        (b"2m", (30, 60), 30),
        (b"250ms", (0, 0), 0.25),
        (b"soon", (30, 60), 30),
        (b"0s", (30, 60), 30),
        (b"-1s", (30, 60), 30),
        (b"\xff", (30, 60), 30),
    ],
)
def test_a_request_may_only_shorten_its_time(asked: bytes, limits: tuple[float, float], limit: float) -> None:
    """And nonsense changes nothing."""
    assert limit_of(asked, limits) == limit
