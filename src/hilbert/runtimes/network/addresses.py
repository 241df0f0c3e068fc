"""The addresses that are special: inside a replica, in the pool of all replicas, and those that nobody may reach."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final

from hilbert.core.addresses import METADATA

GATEWAY: Final = "127.0.0.80"
"""What `gateway` and `gateway.openfaas` resolve to inside: on the replica's own loopback, where only its own processes are."""

GATEWAY_PORT: Final = 8080
DOOR_PORT: Final = 1
"""Where the gateway really listens on `GATEWAY`; the replica's own rules lead port 8080 there. If it listened on 8080 itself,
a function could not listen there on all addresses (`0.0.0.0:8080`), as most images do."""

NEVER: Final = (
    *(network for network in METADATA if ":" not in network),  # IPv6 leads nowhere.
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",  # link-local, with most clouds' metadata
    "224.0.0.0/4",
    "240.0.0.0/4",
)
"""What no namespace can open: this machine, the link, metadata, multicast, what is reserved."""

PRIVATE: Final = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
)
"""What is no internet (RFC 6890): closed unless the namespace's egress names it."""

SLIRP: Final = "10.0.2.0/24"
"""The network that slirp4netns makes up; 10.0.2.2 in it stands for this machine."""

_FIRST: Final = 2
"""The pool's first two addresses stay free: the network, and this machine's end of every link."""


class Pool:
    """The private network from which replicas have their addresses, each known by its number in it."""

    def __init__(self, network: str) -> None:
        """Raises `ValueError` for what is no IPv4 network of 16 to 65,536 addresses."""
        self.network = ipaddress.IPv4Network(network)
        if not 16 <= self.network.prefixlen <= 28:
            raise ValueError("a pool has 16 to 65536 addresses (/28 to /16)")

    @property
    def here(self) -> str:
        """This machine's end of every link; nothing listens there."""
        return str(self.network[1])

    @property
    def numbers(self) -> range:
        return range(_FIRST, self.network.num_addresses - 1)

    def address(self, number: int) -> str:
        return str(self.network[number])


def own_addresses(tree: Path = Path("/proc/net/fib_trie")) -> frozenset[str]:
    """Every IPv4 address of this machine, in the network namespace of the caller. Raises `OSError`."""
    found: set[str] = set()
    address = ""
    for line in tree.read_text().splitlines():
        words = line.split()
        if words and words[0] == "|--":
            address = words[1]
        elif words[1:] == ["host", "LOCAL"] and words[0] == "/32" and not address.startswith("127."):
            found.add(address)
    return frozenset(found)
