"""As root: a replica's link to this machine, a pair of virtual interfaces, and how each end of it is configured.

The interface's name says whose it is: `hb`, the installation's label, what its namespace may reach, and its number in the
pool. So nothing has to be written down: the names are the list of what is taken, and the kernel removes the pair with the
replica's network.
"""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Iterator
from typing import Final

from hilbert.core.network import Egress
from hilbert.runtimes.network.addresses import Pool
from hilbert.runtimes.network.netlink import SCOPE_LINK, Netlink

INSIDE: Final = "eth0"
_NAME: Final = re.compile(r"hb([0-9a-f]{4})([il])-([0-9a-f]{4})")
_TRIES: Final = 16


def name_of(label: str, number: int, egress: Egress) -> str:
    """`i`: internet and nothing private, which the machine's rules hold, too; `l`: a list, which only its own rules know."""
    return f"hb{label}{'l' if egress.destinations else 'i'}-{number:04x}"


def present(label: str = "") -> dict[str, int]:
    """Names and numbers of all links on this machine, of any installation or only of this one."""
    found: dict[str, int] = {}
    for _, name in socket.if_nameindex():
        seen = _NAME.fullmatch(name)
        if seen is not None and label in ("", seen[1]):
            found[name] = int(seen[3], 16)
    return found


def exists(name: str) -> bool:
    """Whether there is an interface of that name, without a list of all."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def numbers(pool: Pool) -> Iterator[int]:
    """Those to try, at random, so that a packet still under way for a replica that has ended seldom finds another.

    The links that there are, are listed only once some tries have failed: that takes the longer the more there are.
    """
    for _ in range(_TRIES):
        yield random.choice(pool.numbers)  # noqa: S311 - not a secret
    taken = set(present().values())
    yield from (number for number in pool.numbers if number not in taken)


def configure_outside(netlink: Netlink, name: str, number: int, pool: Pool) -> None:
    """This machine's end. Raises `OSError`."""
    index = socket.if_nametoindex(name)
    netlink.no_link_local(index)
    netlink.add_address(index, pool.here)
    netlink.up(index)
    netlink.add_route(index, pool.address(number), source=pool.here, scope=SCOPE_LINK)


def configure_inside(netlink: Netlink, number: int, pool: Pool) -> None:
    """The replica's end, in its network. Raises `OSError`."""
    index = socket.if_nametoindex(INSIDE)
    netlink.add_address(index, pool.address(number))
    netlink.up(index)
    netlink.add_route(index, pool.here, scope=SCOPE_LINK)
    netlink.add_route(index, via=pool.here)
