"""What a function can reach from its network, tried from inside, as root and as an ordinary user."""

from __future__ import annotations

import sys

import pytest

from attack.network import neighbour
from hilbert.runtimes.network.rules import CONNECTIONS_MOST
from support.networks import (
    HOST_LOOPBACK_PORT,
    HOST_PORT,
    HOST_PUBLIC,
    METADATA,
    OTHER_PUBLIC,
    PORT,
    PRIVATE,
    PUBLIC,
    WORLD,
    NetworkedPlatform,
)


def test_the_internet_is_reached(platform: NetworkedPlatform) -> None:
    assert platform.reaches("probe", PUBLIC, PORT) == f"{PUBLIC} saw {HOST_PUBLIC}"
    assert platform.reaches("probe", OTHER_PUBLIC, PORT) == f"{OTHER_PUBLIC} saw {HOST_PUBLIC}"


def test_names_are_found_though_the_name_server_is_private(platform: NetworkedPlatform) -> None:
    assert platform.reaches("probe", "somewhere.example", PORT) == f"{PUBLIC} saw {HOST_PUBLIC}"
    assert platform.reaches("probe", PRIVATE, 53) != f"{PRIVATE} saw {HOST_PUBLIC}"


@pytest.mark.parametrize("address", [*METADATA, *(address for address in WORLD if address != PUBLIC)])
def test_private_and_special_addresses_are_not(platform: NetworkedPlatform, address: str) -> None:
    assert platform.reaches("probe", address, PORT) in (
        "OSError",
        "TimeoutError",
        "ConnectionRefusedError",
        "PermissionError",
    )


def test_what_must_not_be_reached_is_there(platform: NetworkedPlatform) -> None:
    """From the host itself everything answers, so that a refusal inside means something."""
    code = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).recv(99).decode())"
    places = [(address, PORT) for address in WORLD] + [
        ("fd77::1", PORT),
        ("fd77::2", HOST_PORT),
        (HOST_PUBLIC, HOST_PORT),
    ]
    for address, port in [*places, ("127.0.0.1", HOST_LOOPBACK_PORT), ("::1", HOST_PORT)]:
        said = platform.networks.run(sys.executable, "-c", code, address, str(port))
        assert "saw" in said


@pytest.mark.parametrize(
    "address",
    [HOST_PUBLIC, "127.0.0.1", "10.213.0.1", "10.0.2.2", "10.0.2.3", "0.0.0.0", "::1", "fd77::2", "::ffff:8.8.4.2"],
)
def test_the_machines_own_services_are_not(platform: NetworkedPlatform, address: str) -> None:
    gateway = int(platform.url.rpartition(":")[2])
    metrics = int(str(platform.facts["metrics_url"]).rpartition(":")[2])
    for port in (HOST_PORT, HOST_LOOPBACK_PORT, gateway, metrics):
        assert "saw" not in platform.reaches("probe", address, port)
        assert platform.reaches("probe", address, port) in (
            "OSError",
            "TimeoutError",
            "ConnectionRefusedError",
            "PermissionError",
        )


@pytest.mark.parametrize("address", ["fd77::1", "64:ff9b::909:909", "fd00:ec2::254", "fe80::1%eth0"])
def test_ipv6_leads_nowhere(platform: NetworkedPlatform, address: str) -> None:
    assert platform.reaches("probe", address, PORT) in ("OSError", "TimeoutError", "gaierror", "PermissionError")


def test_no_other_replica_is_reached_by_its_address(platform: NetworkedPlatform) -> None:
    platform.namespace("other")
    serving = "import socket; s = socket.create_server(('0.0.0.0', 9999)); [s.accept() for _ in iter(int, 1)]"
    platform.deploy(
        "victim",
        "other",
        envProcess=f'python3 -c "{serving}"',
        envVars={"mode": "http", "upstream_url": "http://127.0.0.1:9999"},
    )
    platform.probe("sister")
    mine = platform.python("probe", _ADDRESSES)
    for function in ("sister",):
        theirs = platform.python(function, _ADDRESSES)
        for address in theirs.split():
            if address not in mine.split():
                assert "Error" in platform.reaches("probe", address, 9999)
    # Every address of the pool that has a link, whoever's it is.
    routes = platform.networks.run("ip", "-4", "route")
    for address in [line.split()[0] for line in routes.splitlines() if line.startswith("10.213.")]:
        assert "Error" in platform.reaches("probe", address, 9999)


def test_a_list_opens_what_it_names_and_nothing_else(platform: NetworkedPlatform) -> None:
    platform.namespace("listed", com__hilbert__egress=f"{PRIVATE}:{PORT}")
    platform.probe("listed", "listed")
    assert platform.reaches("listed.listed", PRIVATE, PORT).startswith(PRIVATE)
    assert "Error" in platform.reaches("listed.listed", PRIVATE, PORT + 1)
    assert "Error" in platform.reaches("listed.listed", PUBLIC, PORT)
    assert platform.status("listed", "listed")["annotations"] is not None


@pytest.mark.parametrize("opened", [*METADATA, HOST_PUBLIC, "10.213.0.0/16", "0.0.0.0/0"])
def test_no_list_opens_what_nobody_may_reach(platform: NetworkedPlatform, opened: str) -> None:
    platform.namespace("greedy", com__hilbert__egress=opened)
    platform.probe("greedy", "greedy")
    for address in METADATA:
        assert "Error" in platform.reaches("greedy.greedy", address, PORT)
    assert "Error" in platform.reaches("greedy.greedy", HOST_PUBLIC, HOST_PORT)
    assert "Error" in platform.reaches("greedy.greedy", "10.213.0.1", HOST_PORT)
    platform.api("DELETE", "/system/functions?namespace=greedy", {"functionName": "greedy", "namespace": "greedy"})


def test_egress_none_leaves_the_gateway_alone(platform: NetworkedPlatform) -> None:
    platform.namespace("closed", com__hilbert__egress="none")
    platform.probe("closed", "closed")
    assert "Error" in platform.reaches("closed.closed", PUBLIC, PORT)
    assert platform.reaches("closed.closed", "somewhere.example", PORT) == "gaierror"
    assert (
        platform.python("closed.closed", _CALL.format(url="http://gateway:8080/function/closed", body="print(7)"))
        == "7"
    )


@pytest.mark.bound("connections-out")
def test_one_function_cannot_fill_the_machines_table_of_connections(
    platform: NetworkedPlatform, request: pytest.FixtureRequest
) -> None:
    """As an ordinary user they are sockets of its uplink, which are refused, and as root the machine drops what begins more."""
    code = f"""
import select, socket, time
waiting, there = [], 0
for _ in range({CONNECTIONS_MOST + 100}):
    sock = socket.socket(); sock.setblocking(False); sock.connect_ex(({PUBLIC!r}, {PORT})); waiting.append(sock)
poll, end = select.poll(), time.monotonic() + 50
for sock in waiting:
    poll.register(sock, select.POLLOUT)
kept = {{sock.fileno(): sock for sock in waiting}}
left = set(kept)
while left and there < {CONNECTIONS_MOST} and time.monotonic() < end:
    for descriptor, event in poll.poll(500):
        poll.unregister(descriptor)
        left.discard(descriptor)
        there += kept[descriptor].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
there += 0 if not left else sum(kept[descriptor].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 for descriptor, _ in poll.poll(300))
print(there)
try:
    socket.create_connection(({PUBLIC!r}, {PORT}), 1)
except OSError:
    print("no more")
"""
    platform.probe("greedy-of-connections")
    with neighbour.served(platform):
        there, told = platform.python("greedy-of-connections", code).split("\n")
    if "ordinary" in request.node.callspec.id:
        assert CONNECTIONS_MOST // 2 < int(there) < CONNECTIONS_MOST
    else:
        assert int(there) == CONNECTIONS_MOST
    assert told == "no more"
    assert platform.reaches("probe", PUBLIC, PORT) == f"{PUBLIC} saw {HOST_PUBLIC}"


def test_rules_cannot_be_changed_from_inside(platform: NetworkedPlatform) -> None:
    code = (
        "import ctypes, os, socket\n"
        "for make in (lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12).bind((0, 0)) or nft(),\n"
        "             lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW), lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)):\n"
        "    try:\n        make(); print('made')\n    except Exception as exc:\n        print(type(exc).__name__)\n"
    )
    assert "made" not in platform.python("probe", code)
    script = "import subprocess; print(subprocess.run(['/usr/sbin/nft', 'flush', 'ruleset'], capture_output=True).returncode)"
    assert platform.python("probe", script) != "0"
    assert "Error" in platform.reaches("probe", PRIVATE, PORT)


_ADDRESSES = "print(*[line.split()[1] for line in open('/proc/net/fib_trie') if '|--' in line])"
_CALL = "import urllib.request\nprint(urllib.request.urlopen({url!r}, {body!r}.encode(), 10).read().decode().strip())"
