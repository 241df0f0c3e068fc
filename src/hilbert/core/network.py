"""The network that a function has, and where it may connect to: the annotations `com.hilbert.network` and `com.hilbert.egress`."""

from __future__ import annotations

import enum
import ipaddress
import re
from typing import Final

import msgspec

from hilbert.core.errors import Invalid

ANNOTATION_EGRESS: Final = "com.hilbert.egress"
"""On a namespace: `internet` (the default), `none`, or a list of `internet` and `NETWORK[:PORT[-PORT]][/tcp|/udp]`."""

ITEMS_MOST: Final = 64
_ITEM: Final = re.compile(r"([0-9.]+(?:/[0-9]{1,2})?)(?::([0-9]{1,5})(?:-([0-9]{1,5}))?)?(?:/(tcp|udp))?")


class NetworkKind(enum.StrEnum):
    """Which network a replica is in. From the narrowest."""

    NONE = "none"
    """One of its own with nothing but a loopback, not even the gateway."""
    TENANT = "tenant"
    """One of its own, from which it reaches the gateway and what its namespace's egress allows."""
    HOST = "host"
    """This machine's, with all that listens there."""


class Destination(msgspec.Struct, frozen=True, order=True):
    """A network, with the ports and the protocol that are open there."""

    network: str
    """An IPv4 network, such as `10.1.0.0/16`."""
    first_port: int = 0
    last_port: int = 65535
    protocol: str = ""
    """`tcp` or `udp`; empty: whatever the ports allow, and without ports every protocol."""

    @property
    def all_ports(self) -> bool:
        return self.first_port == 0

    def __str__(self) -> str:
        ports = "" if self.all_ports else f":{self.first_port}"
        if not self.all_ports and self.last_port != self.first_port:
            ports += f"-{self.last_port}"
        return self.network + ports + (f"/{self.protocol}" if self.protocol else "")


class Egress(msgspec.Struct, frozen=True):
    """What a namespace's functions may reach. What no namespace may ever reach is not said here."""

    internet: bool = True
    """Every public address."""
    destinations: tuple[Destination, ...] = ()
    """Besides that, private addresses among them."""

    @property
    def nothing(self) -> bool:
        return not self.internet and not self.destinations

    def __str__(self) -> str:
        """The same text for the same meaning, without spaces."""
        if self.nothing:
            return "none"
        return ",".join([*(["internet"] if self.internet else []), *map(str, self.destinations)])

    def within(self, other: Egress) -> bool:
        """Whether `other` allows all of this, as far as that is plain to see: destinations are compared by their text."""
        return self.internet <= other.internet and set(self.destinations) <= set(other.destinations)

    @classmethod
    def parse(cls, text: str) -> Egress:
        """Parse the annotation's value. Raises `Invalid`, naming the item that is wrong."""
        items = [item.strip() for item in text.split(",")]
        if items == ["none"]:
            return cls(internet=False)
        if len(items) > ITEMS_MOST:
            raise Invalid(f"annotation {ANNOTATION_EGRESS}: {len(items)} items, at most {ITEMS_MOST} are allowed")
        named = {_destination(item) for item in items if item != "internet"}
        return cls(internet="internet" in items, destinations=tuple(sorted(named)))


class NetworkUse(msgspec.Struct, frozen=True):
    """The network of a replica."""

    kind: NetworkKind = NetworkKind.TENANT
    egress: Egress = Egress()
    """Of the kind `tenant`."""

    def __str__(self) -> str:
        return f"tenant:{self.egress}" if self.kind is NetworkKind.TENANT else self.kind.value

    @classmethod
    def parse(cls, text: str) -> NetworkUse:
        """The inverse of `str`. Raises `ValueError` and `Invalid`."""
        kind, _, egress = text.partition(":")
        return cls(NetworkKind(kind), Egress.parse(egress) if egress else Egress())

    def within(self, other: NetworkUse) -> bool:
        """Whether a replica with this network keeps to what `other` allows."""
        order = list(NetworkKind)
        if order.index(self.kind) != order.index(other.kind):
            return order.index(self.kind) < order.index(other.kind)
        return self.kind is not NetworkKind.TENANT or self.egress.within(other.egress)


def _destination(item: str) -> Destination:
    found = _ITEM.fullmatch(item)
    if found is None:
        raise _wrong(
            item, "must be internet, none, or an IPv4 network like 10.1.0.0/16, 10.1.0.7:5432 or 10.1.0.7:53/udp"
        )
    address, first, last, protocol = found.groups()
    try:
        network = ipaddress.IPv4Network(address)
    except ValueError as exc:
        raise _wrong(item, str(exc)) from None
    if first is None:
        return Destination(str(network), protocol=protocol or "")
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= 65535:
        raise _wrong(item, "ports go from 1 to 65535")
    return Destination(str(network), low, high, protocol or "")


def _wrong(item: str, why: str) -> Invalid:
    shown = item.encode("ascii", "backslashreplace").decode()[:80]
    return Invalid(f"annotation {ANNOTATION_EGRESS}: {shown!r}: {why}")
