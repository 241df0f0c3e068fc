"""A worker that the attacks of one module share, and the oracle around each of them.

The worker has small limits for time, so that an attack ends while the test looks.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attack.oracle import Oracle
from attack.waiting import pytest_runtest_makereport, pytest_runtest_protocol
from support.dataplane import Plane

__all__ = ["pytest_runtest_makereport", "pytest_runtest_protocol"]


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    oracle = Oracle(Plane(write_timeout="2s", read_timeout="2s"), Plane())
    try:
        yield oracle
        oracle.end()
    finally:
        oracle.close()


@pytest.fixture
def plane(oracle: Oracle) -> Iterator[Plane]:
    """Somebody else is served throughout, and the API too."""
    with oracle.watching():
        yield oracle.plane
