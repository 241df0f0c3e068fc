"""Setting up one replica's network: runs in a process of its own, forked by the keeper, which it leaves for that network."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.network import Egress
from hilbert.runtimes.network import enter, links, nftables, rules
from hilbert.runtimes.network.addresses import DOOR_PORT, GATEWAY, SLIRP, Pool
from hilbert.runtimes.network.netlink import Netlink

_BACKLOG: Final = 128
_DNS_PORT: Final = 53


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One network to set up."""

    network: int
    """Descriptor of the namespace."""
    uplink: str
    egress: Egress
    resolves: bool
    gateway: bool
    ahead: int
    """How many sockets to make for those who will call into it."""
    label: str
    pool: Pool
    programs: Mapping[str, str]
    addresses: frozenset[str]
    """This machine's, which the replica never reaches. Whoever keeps it finds them out once, for all starts: with many replicas,
    that takes longer than a start."""


def set_up(order: Order) -> list[socket.socket]:
    """Make the link, the rules and what listens inside: the gateway's door, then a name server's two sockets if wanted.

    Last come the sockets that are made ahead. Leaves this process in the replica's network. Raises `OSError`.
    """
    number = _make_link(order) if order.uplink == "veth" and not _has_link(order.network) else -1
    enter.enter(order.network)
    if os.geteuid() != 0:
        enter.keep_net_admin()
    enter.raise_loopback()
    if not order.gateway:
        return make_sockets(order.ahead)
    _load_rules(order, order.addresses)
    if number >= 0:
        _switch("ipv6", links.INSIDE, "disable_ipv6")
        with Netlink() as netlink:
            links.configure_inside(netlink, number, order.pool)
    sockets = [_listen(DOOR_PORT)]
    if order.resolves:
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind((GATEWAY, _DNS_PORT))
        sockets += [datagrams, _listen(_DNS_PORT)]
    return sockets + make_sockets(order.ahead)


def renew(order: Order, addresses: frozenset[str]) -> list[socket.socket]:
    """Put the rules in place once more: they name this machine's addresses, which have changed. As `set_up`."""
    enter.enter(order.network)
    if os.geteuid() != 0:
        enter.keep_net_admin()
    _load_rules(order, addresses)
    return []


def _load_rules(order: Order, addresses: frozenset[str]) -> None:
    never = {str(order.pool.network), SLIRP, *addresses}
    nftables.load(order.programs["nft"], rules.inside(order.egress, never=never))


def make_sockets(count: int) -> list[socket.socket]:
    """Unconnected sockets of the network that this process is in."""
    return [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]


def make_sockets_in(network: int, count: int) -> list[socket.socket]:
    """The same in another network, for which this process leaves its own. Raises `OSError`."""
    enter.enter(network)
    return make_sockets(count)


def _has_link(network: int) -> bool:
    """Whether an earlier keeper has made the replica's link: what is there outlives it."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter.enter(network)
        found = any(name == links.INSIDE for _, name in socket.if_nameindex())
        enter.enter(here)
    finally:
        os.close(here)
    return found


def _make_link(order: Order) -> int:
    """The pair of interfaces with this machine's end configured; the replica's number in the pool. Raises `OSError`.

    The kernel tells whether a number is free: an interface has its name, or one of another installation its route.
    """
    with Netlink() as netlink:
        for number in links.numbers(order.pool):
            name = links.name_of(order.label, number, order.egress)
            try:
                netlink.add_pair(name, peer=links.INSIDE, network=order.network)
            except FileExistsError:
                if not links.exists(name):
                    raise
                continue
            _switch("ipv6", name, "disable_ipv6")
            try:
                links.configure_outside(netlink, name, number, order.pool)
            except FileExistsError:
                netlink.remove(name)
                continue
            _switch("ipv4", name, "forwarding")
            return number
    raise OSError(f"all addresses of {order.pool.network} are in use")


def _switch(family: str, interface: str, name: str) -> None:
    """Switch a property of an interface on."""
    Path(f"/proc/sys/net/{family}/conf/{interface}/{name}").write_text("1")


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((GATEWAY, port))
    listener.listen(_BACKLOG)
    return listener
