"""The nftables rules, as text for `nft -f`: one table in each replica's network, and as root one of our own on this machine.

The replica's own rules say what its namespace allows. The machine's say what no replica may ever do, and hold even if a
replica could change its own. Both replace themselves as a whole, and name no table of others.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from hilbert.core.network import Destination, Egress
from hilbert.runtimes.network.addresses import DOOR_PORT, GATEWAY, GATEWAY_PORT, NEVER, PRIVATE, SLIRP, Pool

INSIDE = "hilbert"
"""The name of the table in a replica's network."""

CONNECTIONS_MOST = 1024
"""Connections out that one replica may have at once, as root: this machine keeps a record of each, in a table that all share."""

_REFUSE = "reject with icmpx admin-prohibited"


def inside(egress: Egress, *, never: Iterable[str]) -> str:
    """For a replica. `never` is closed whatever `egress` says, besides what always is: this machine's addresses, the pool.

    Packets that leave by the loopback stay in the replica. IPv6 has no other way out.
    """
    lines = [
        'oifname "lo" accept',
        f"meta nfproto ipv6 {_REFUSE}",
        f"ip daddr {_set({*NEVER, *never})} {_REFUSE}",
        *(rule for destination in egress.destinations for rule in _accept(destination)),
    ]
    if egress.internet:
        lines += [f"ip daddr {_set(PRIVATE)} {_REFUSE}", "accept"]
    lines.append(_REFUSE)
    return _table(
        INSIDE,
        sets=[],
        chains={
            "output": ("type filter hook output priority 0; policy drop;", lines),
            "input": (
                "type filter hook input priority 0; policy drop;",
                ['iifname "lo" accept', "ct state established,related accept"],
            ),
            "door": (
                "type nat hook output priority -100; policy accept;",
                [f"ip daddr {GATEWAY} tcp dport {GATEWAY_PORT} dnat ip to {GATEWAY}:{DOOR_PORT}"],
            ),
        },
    )


def _accept(destination: Destination) -> list[str]:
    where = f"ip daddr {destination.network}"
    if destination.all_ports:
        return [f"{where} ip protocol {destination.protocol} accept" if destination.protocol else f"{where} accept"]
    ports = f"{destination.first_port}-{destination.last_port}"
    return [
        f"{where} {kind} dport {ports} accept"
        for kind in ((destination.protocol,) if destination.protocol else ("tcp", "udp"))
    ]


def machine(label: str, pool: Pool) -> str:
    """For this machine, where replicas' links end. `label` is the installation's; see `links` for their names."""
    ours, internet_only = f'"hb{label}*"', f'"hb{label}i*"'
    never = _set({*NEVER, SLIRP, str(pool.network)})
    return _table(
        machine_table(label),
        sets=["set busy { type ipv4_addr; flags dynamic; size 65536; }"],
        chains={
            "from": (
                "type filter hook prerouting priority -300; policy accept;",
                [
                    f"iifname {ours} meta nfproto != ipv4 drop",
                    f"iifname {ours} fib saddr . iif oif missing drop",  # An address that is not the replica's.
                ],
            ),
            "input": ("type filter hook input priority -10; policy accept;", [f"iifname {ours} drop"]),
            "forward": (
                "type filter hook forward priority -10; policy accept;",
                [
                    f"oifname {ours} ct state established,related accept",
                    f"oifname {ours} drop",
                    f'iifname {ours} oifname "hb*" drop',  # Replicas of another installation on this machine.
                    f"iifname {ours} ip daddr {never} drop",
                    f"iifname {internet_only} ip daddr {_set(PRIVATE)} drop",
                    f"iifname {ours} ct state new add @busy {{ ip saddr ct count over {CONNECTIONS_MOST} }} drop",
                ],
            ),
            "out": (
                "type nat hook postrouting priority 100; policy accept;",
                [f"ip saddr {pool.network} oifname != {ours} masquerade"],
            ),
        },
    )


def machine_table(label: str) -> str:
    return f"hilbert-{label}"


def without_machine(label: str) -> str:
    """Removes the machine's table; absence is success."""
    name = machine_table(label)
    return f"table inet {name}\ndelete table inet {name}\n"


def _set(networks: Iterable[str]) -> str:
    """Networks that overlap are one: nftables refuses a set with both."""
    merged = ipaddress.collapse_addresses(map(ipaddress.IPv4Network, networks))
    return f"{{ {', '.join(map(str, merged))} }}"


def _table(name: str, *, sets: list[str], chains: dict[str, tuple[str, list[str]]]) -> str:
    # Naming it makes it, so that deleting it never fails; one transaction, so that no packet passes in between.
    parts = [f"table inet {name}", f"delete table inet {name}", f"table inet {name} {{", *sets]
    for chain, (head, lines) in chains.items():
        parts += [f"  chain {chain} {{", f"    {head}", *(f"    {line}" for line in lines), "  }"]
    return "\n".join([*parts, "}", ""])
