"""A token bucket, on times that the test gives."""

from __future__ import annotations

from hilbert.kit.bucket import Bucket


def test_so_many_at_once_then_one_after_the_other() -> None:
    bucket = Bucket(3, 0.5, now=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(101.9), bucket.take(102.1), bucket.take(102.2)] == [False, True, False]


def test_a_long_rest_fills_it_and_no_more() -> None:
    bucket = Bucket(2, 10.0, now=0.0)
    assert bucket.take(0.0)
    assert [bucket.take(1e6) for _ in range(3)] == [True, True, False]
