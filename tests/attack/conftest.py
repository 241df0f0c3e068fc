"""A worker that the attacks of one module share, with small limits for time, so that an attack ends while the test looks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.dataplane import Plane


@pytest.fixture(scope="module")
def plane() -> Iterator[Plane]:
    made = Plane(write_timeout="2s", read_timeout="2s")
    yield made
    made.close()
