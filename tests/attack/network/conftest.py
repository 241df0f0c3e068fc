"""One machine with its world for all modules of this folder, and a platform on it as root and as an ordinary user."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from attack.network import neighbour
from hilbert.runtimes.network.claims import of_the_dead
from hilbert.runtimes.network.machine import _remove
from support.networks import ORDINARY, NetworkedPlatform, Networks, missing

OTHERS = """
table inet somebody-else {
  chain forward { type filter hook forward priority 5; policy accept;
    ip saddr 203.0.113.9 drop
  }
}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if why := missing():
        for item in items:
            if "attack/network" in str(item.path):
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(autouse=True)
def somebody_else_is_served(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever an attack on the shared platform does, a function of another namespace answers in time, and the API answers."""
    if "platform" not in request.fixturenames:
        yield
        return
    platform: NetworkedPlatform = request.getfixturevalue("platform")
    with neighbour.served(platform):
        yield
    assert platform.api("GET", "/system/functions?namespace=bystander").status == 200


@pytest.fixture(scope="module")
def networks() -> Iterator[Networks]:
    networks = Networks()
    networks.open()
    networks.load(OTHERS)
    before = networks.run("nft", "list", "table", "inet", "somebody-else")
    yield networks
    assert networks.run("nft", "list", "table", "inet", "somebody-else") == before, "rules of others are theirs"
    networks.close()


@pytest.fixture(scope="module", params=["root", "ordinary"])
def platform(request: pytest.FixtureRequest, networks: Networks) -> Iterator[NetworkedPlatform]:
    """With a function `probe`. What it has made is gone with it."""
    platform = NetworkedPlatform(networks, user=ORDINARY if request.param == "ordinary" else 0)
    try:
        platform.start()
        platform.probe("probe")
        neighbour.deploy(platform)
        yield platform
        assert platform.stop() == 0, platform.log
        networks.links_end()
        if (
            len(networks.tables()) > 1
        ):  # The kernel took longer to remove the links than the platform waits: the next one does it.
            with networks.entered():
                of_the_dead("", lambda label, record: _remove(label, record, {"nft": shutil.which("nft") or ""}))
        assert networks.tables() == ["table inet somebody-else"]
    finally:
        platform.close()
