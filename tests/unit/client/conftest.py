"""Either client against a gateway that is played."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hilbert.client import BasicAuth
from support.cli import PASSWORD, USER, Gateway
from support.clients import Either


@pytest.fixture(params=["sync", "async", "uvloop"])
def either(request: pytest.FixtureRequest) -> Iterator[Either]:
    found = Either(request.param)
    yield found
    found.close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    found = Gateway().start()
    yield found
    found.close()


@pytest.fixture
def client(either: Either, gateway: Gateway) -> Either:
    return either.open(gateway.url, auth=BasicAuth(USER, PASSWORD), timeout=10)
