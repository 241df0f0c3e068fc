"""As root: virtual links, their addresses and routes, by messages to the kernel (rtnetlink(7)), without a program for each.

Only what `setting_up` needs. A library for all of it (pyroute2) takes 23 MiB in the keeper, and its import 120 ms.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Final

_NEWLINK, _DELLINK, _NEWADDR, _NEWROUTE = 16, 17, 20, 24
_ERROR: Final = 2
_REQUEST, _ACK, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x200, 0x400
_IFF_UP: Final = 0x1
_MAIN_TABLE, _BOOT_PROTOCOL, _UNICAST = 254, 3, 1
SCOPE_GLOBAL, SCOPE_LINK = 0, 253
_NESTED: Final = 0x8000

# Attributes (linux/if_link.h, if_addr.h, rtnetlink.h, veth.h).
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_NET_NS_FD, _IFLA_AF_SPEC = 3, 18, 28, 26
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_NONE = 8, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7

_HEADER: Final = struct.Struct("=IHHII")
_ROOM: Final = 65536


class Netlink:
    """The network of the process that opens it. A context manager; every method raises `OSError` with what the kernel said."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._number = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def add_pair(self, name: str, *, peer: str, network: int) -> None:
        """A pair of virtual interfaces: `name` here, `peer` in the network namespace of that descriptor."""
        other = _link() + _text(_IFLA_IFNAME, peer) + _attribute(_IFLA_NET_NS_FD, struct.pack("=I", network))
        data = _attribute(_IFLA_INFO_DATA | _NESTED, _attribute(_VETH_INFO_PEER | _NESTED, other))
        info = _attribute(_IFLA_LINKINFO | _NESTED, _attribute(_IFLA_INFO_KIND, b"veth") + data)
        self._ask(_NEWLINK, _link() + _text(_IFLA_IFNAME, name) + info, _CREATE | _EXCLUSIVE)

    def remove(self, name: str) -> None:
        self._ask(_DELLINK, _link() + _text(_IFLA_IFNAME, name))

    def no_link_local(self, index: int) -> None:
        """Make up no IPv6 address for the interface once it is up. Kernels without IPv6 have none to make up."""
        mode = _attribute(socket.AF_INET6 | _NESTED, _attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_NONE])))
        try:
            self._ask(_NEWLINK, _link(index) + _attribute(_IFLA_AF_SPEC | _NESTED, mode))
        except OSError as exc:
            if exc.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                raise

    def up(self, index: int) -> None:
        self._ask(_NEWLINK, _link(index, flags=_IFF_UP))

    def add_address(self, index: int, address: str) -> None:
        """The address alone, with no network around it."""
        packed = socket.inet_aton(address)
        body = struct.pack("=BBBBI", socket.AF_INET, 32, 0, SCOPE_GLOBAL, index)
        body += _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
        self._ask(_NEWADDR, body, _CREATE | _EXCLUSIVE)

    def add_route(
        self, index: int, target: str = "", *, via: str = "", source: str = "", scope: int = SCOPE_GLOBAL
    ) -> None:
        """To one address, or the default route, through the interface."""
        bits = 32 if target else 0
        body = struct.pack("=BBBBBBBBI", socket.AF_INET, bits, 0, 0, _MAIN_TABLE, _BOOT_PROTOCOL, scope, _UNICAST, 0)
        for kind, address in ((_RTA_DST, target), (_RTA_GATEWAY, via), (_RTA_PREFSRC, source)):
            if address:
                body += _attribute(kind, socket.inet_aton(address))
        self._ask(_NEWROUTE, body + _attribute(_RTA_OIF, struct.pack("=I", index)), _CREATE | _EXCLUSIVE)

    def _ask(self, kind: int, body: bytes, flags: int = 0) -> None:
        self._number += 1
        head = _HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST | _ACK, self._number, 0)
        self._socket.send(head + body)
        while True:
            answer = self._socket.recv(_ROOM)
            _, answered, _, number, _ = _HEADER.unpack_from(answer)
            if answered == _ERROR and number == self._number:
                (code,) = struct.unpack_from("=i", answer, _HEADER.size)
                if code:
                    raise OSError(-code, f"the network could not be configured: {os.strerror(-code)}")
                return


def _link(index: int = 0, *, flags: int = 0) -> bytes:
    """`struct ifinfomsg`; the flags are those that change."""
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")
