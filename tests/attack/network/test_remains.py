"""What is left of networks, and what goes on, when processes are killed: the keeper, the control process, everything."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.networks import (
    HOST_LOOPBACK_PORT,
    HOST_PORT,
    HOST_PUBLIC,
    METADATA,
    ORDINARY,
    OTHER_PUBLIC,
    PORT,
    PRIVATE,
    PUBLIC,
    NetworkedPlatform,
    Networks,
)
from support.platform import command, until

_CALL = "import urllib.request\nprint(urllib.request.urlopen('http://gateway:8080/function/other', timeout=20).read().decode().strip())"


def keepers(platform: NetworkedPlatform) -> list[psutil.Process]:
    """One that is about to start a program has the keeper's command, too, for a moment: it is left out."""
    found = [one for one in platform.processes() if "hilbert.runtimes.network.keeper" in command(one)]
    return [one for one in found if parent(one) not in {other.pid for other in found}]


def parent(process: psutil.Process) -> int:
    """0 for the child of one that is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.ppid()
    return 0


def uplinks(platform: NetworkedPlatform) -> list[psutil.Process]:
    """Of ordinary users: programs that the keeper has started."""
    found = []
    for keeper in keepers(platform):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [child for child in keeper.children() if "--userns" in " ".join(command(child))]
    return found


@pytest.fixture(params=["root", "ordinary"])
def mortal(request: pytest.FixtureRequest, networks: Networks) -> Iterator[NetworkedPlatform]:
    """A platform that a test may kill, with two functions."""
    platform = NetworkedPlatform(networks, user=ORDINARY if request.param == "ordinary" else 0)
    try:
        platform.start()
        platform.probe("probe")
        platform.deploy("other", envProcess="echo here")
        yield platform
        assert platform.stop() == 0, platform.log
        until(lambda: not keepers(platform), what="the keeper to end")
        networks.links_end()
        assert networks.tables() == ["table inet somebody-else"]
        assert forwarding(networks) == "0"
    finally:
        platform.close()


def forwarding(networks: Networks) -> str:
    return networks.run("cat", "/proc/sys/net/ipv4/conf/out/forwarding").strip()


def works(platform: NetworkedPlatform) -> bool:
    """Calls from outside and from inside, and the way out."""
    return (
        platform.python("probe", _CALL) == "here"
        and platform.reaches("probe", PUBLIC, PORT) == f"{PUBLIC} saw {HOST_PUBLIC}"
        and platform.reaches("probe", "somewhere.example", PORT) == f"{PUBLIC} saw {HOST_PUBLIC}"
    )


def test_a_new_control_process_finds_everything_as_it_was(mortal: NetworkedPlatform) -> None:
    assert works(mortal)
    (keeper,) = keepers(mortal)
    (control,) = mortal.children("hilbert.server.control")
    replicas = sorted(replica.pid for replica in mortal.replicas())
    control.kill()
    assert mortal.python("probe", _CALL) == "here", "not even a moment without the gateway"
    until(lambda: mortal.children("hilbert.server.control") not in ([], [control]), what="another control process")
    until(lambda: mortal.status("probe").get("availableReplicas") == 1, what="the replica to be taken back")
    assert works(mortal)
    assert keepers(mortal) == [keeper]
    assert sorted(replica.pid for replica in mortal.replicas()) == replicas
    mortal.deploy("later", envProcess="echo later")
    assert "later" in mortal.call("/function/later").text


def test_a_keeper_that_is_killed_is_replaced_with_all_that_it_kept(mortal: NetworkedPlatform) -> None:
    assert works(mortal)
    (keeper,) = keepers(mortal)
    before, replicas = uplinks(mortal), sorted(replica.pid for replica in mortal.replicas())
    keeper.kill()
    until(lambda: keepers(mortal) not in ([], [keeper]), what="another keeper")
    until(lambda: "here" in _tried(mortal), what="the gateway inside", log=lambda: mortal.log)
    until(lambda: works(mortal), what="the way out")
    assert sorted(replica.pid for replica in mortal.replicas()) == replicas
    assert not [child for child in before if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert len(uplinks(mortal)) >= len(before)  # Spare networks may have come meanwhile.


def _tried(platform: NetworkedPlatform) -> str:
    return platform.python(
        "probe", f"try:\n    {_CALL.replace(chr(10), chr(10) + '    ')}\nexcept OSError as exc:\n    print(exc)"
    )


def test_nothing_is_left_of_what_is_killed(mortal: NetworkedPlatform) -> None:
    networks = mortal.networks
    assert works(mortal)
    mortal.kill_everything()
    until(lambda: not networks.links(), what="the links to be gone")
    assert not mortal.processes()
    mortal.start()
    until(
        lambda: mortal.status("probe").get("availableReplicas") == 1,
        within=60,
        what="the replica",
        log=lambda: mortal.log,
    )
    until(
        lambda: mortal.status("other").get("availableReplicas") == 1,
        within=60,
        what="the other",
        log=lambda: mortal.log,
    )
    assert works(mortal)


def ways_out(platform: NetworkedPlatform) -> set[int]:
    """What leads out of replicas' networks, spare ones included: numbers of links, and of ordinary users' uplinks."""
    return platform.networks.link_numbers() | {program.pid for program in uplinks(platform)}


def test_a_replica_that_ends_takes_its_network_with_it(mortal: NetworkedPlatform) -> None:
    """Spare networks may come at any time; what counts is which ones go."""
    before = ways_out(mortal)
    assert mortal.api("DELETE", "/system/functions", {"functionName": "other"}).status in (200, 202)
    until(lambda: len(before - ways_out(mortal)) == 1, what="its way out to go")
    before = ways_out(mortal)
    (replica,) = mortal.replicas()
    os.kill(replica.pid, signal.SIGKILL)
    until(lambda: [one.pid for one in mortal.replicas()] not in ([], [replica.pid]), what="another replica")
    until(lambda: mortal.status("probe").get("availableReplicas") == 1, what="it to answer")
    until(lambda: len(before - ways_out(mortal)) == 1, what="the dead one's way out to go")
    assert mortal.reaches("probe", PUBLIC, PORT) == f"{PUBLIC} saw {HOST_PUBLIC}"


def test_another_installation_removes_what_a_dead_one_has_left(networks: Networks) -> None:
    dead, alive, other = (NetworkedPlatform(networks) for _ in range(3))
    try:
        dead.start()
        dead.probe("probe")
        (left,) = [table for table in networks.tables() if "hilbert-" in table]
        alive.start()
        assert left in networks.tables(), "what lives is left alone"
        (own,) = [table for table in networks.tables() if "hilbert-" in table and table != left]
        dead.kill_everything()
        until(lambda: not networks.links(), what="the links to be gone")
        assert left in networks.tables()
        assert forwarding(networks) == "1"
        other.start()
        assert left not in networks.tables()
        assert own in networks.tables()
        assert (other.stop(), alive.stop()) == (0, 0)
        assert networks.tables() == ["table inet somebody-else"]
    finally:
        for platform in (dead, alive, other):
            platform.close()


@pytest.mark.skipif(shutil.which("pasta") is None, reason="pasta is not installed (package passt)")
def test_pasta_takes_the_place_of_slirp4netns(networks: Networks) -> None:
    platform = NetworkedPlatform(networks, user=ORDINARY, without=["slirp4netns"])
    try:
        platform.start()
        platform.probe("probe")
        platform.deploy("other", envProcess="echo here")
        assert "pasta" in platform.api("GET", "/system/info").text
        assert works(platform)
        closed = [
            (HOST_PUBLIC, HOST_PORT),
            ("127.0.0.1", HOST_LOOPBACK_PORT),
            (OTHER_PUBLIC, HOST_PORT),
            (PRIVATE, PORT),
        ]
        for address, port in [*closed, *((address, PORT) for address in METADATA)]:
            assert "Error" in platform.reaches("probe", address, port)
        assert platform.stop() == 0
    finally:
        platform.close()


def test_an_address_that_the_machine_gets_later_is_closed_too(networks: Networks) -> None:
    """As an ordinary user, whose packets leave through sockets of this machine."""
    platform = NetworkedPlatform(networks, user=ORDINARY)
    try:
        platform.start()
        platform.probe("probe")
        assert platform.reaches("probe", "9.9.9.7", HOST_PORT) != f"9.9.9.7 saw {HOST_PUBLIC}"
        networks.run("ip", "addr", "add", "9.9.9.7/32", "dev", "lo")
        code = f"import socket; print(socket.create_connection(('9.9.9.7', {HOST_PORT}), 3).recv(99).decode())"
        assert "saw" in networks.run(sys.executable, "-c", code), "something answers there"
        until(lambda: _refused(platform), what="the rules to follow")
        assert platform.reaches("probe", PUBLIC, PORT) == f"{PUBLIC} saw {HOST_PUBLIC}"
        assert platform.stop() == 0
    finally:
        platform.close()
        networks.run("ip", "addr", "del", "9.9.9.7/32", "dev", "lo")


def _refused(platform: NetworkedPlatform) -> bool:
    return "saw" not in platform.reaches("probe", "9.9.9.7", HOST_PORT)


def test_without_nft_the_network_is_shared_and_it_is_said(networks: Networks) -> None:
    platform = NetworkedPlatform(networks, without=["nft"])
    try:
        platform.start()
        platform.probe("probe")
        told = platform.api("GET", "/system/info").text
        assert "nft is not installed" in told
        assert "saw" in platform.reaches("probe", "127.0.0.1", HOST_LOOPBACK_PORT)
        platform.namespace("strict", com__hilbert__isolation="network")
        body = {"service": "refused", "namespace": "strict", "image": "hilbert/alpine", "envProcess": "cat"}
        answer = platform.api("POST", "/system/functions", body)
        assert (answer.status, "network" in answer.text) == (400, True)
        assert platform.stop() == 0
    finally:
        platform.close()


def test_without_a_tunnel_device_there_is_the_gateway_alone(networks: Networks) -> None:
    """And it is said, with the reason."""
    platform = NetworkedPlatform(networks, user=ORDINARY, tun=False)
    try:
        platform.start()
        platform.probe("probe")
        platform.deploy("other", envProcess="echo here")
        assert platform.python("probe", _CALL) == "here"
        assert "Error" in platform.reaches("probe", PUBLIC, PORT)
        assert platform.reaches("probe", "somewhere.example", PORT) == "gaierror"
        told = platform.api("GET", "/system/info").text
        assert "/dev/net/tun" in told
        assert platform.stop() == 0
    finally:
        platform.close()
    assert not Path(platform.folder).exists()
