"""Workers shared by the tests of one module; each test deploys functions of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.dataplane import Plane


@pytest.fixture(scope="module")
def plane() -> Iterator[Plane]:
    """One worker with the settings as they come."""
    made = Plane()
    yield made
    made.close()


@pytest.fixture(scope="module")
def hasty() -> Iterator[Plane]:
    """One worker with short limits for clients."""
    made = Plane(
        read_timeout="300ms", write_timeout="500ms", keep_alive_timeout="400ms", max_header_bytes=2048, max_body="64Ki"
    )
    yield made
    made.close()
