"""One function, run in every mode that takes a body."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.watchdog import FORKING, MODES, Watchdog, running


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Each mode in turn."""
    name: str = request.param
    return name


@pytest.fixture(params=FORKING)
def forking(request: pytest.FixtureRequest) -> str:
    """Each mode with one process per request."""
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=MODES)
def shared(request: pytest.FixtureRequest) -> Iterator[Watchdog]:
    """A watchdog in each mode, for tests that leave no trace in it."""
    with running(request.param) as made:
        yield made
