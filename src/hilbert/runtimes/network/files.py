"""The two files by which programs in a replica find names."""

from __future__ import annotations

from typing import Final

from hilbert.runtimes.network.addresses import GATEWAY

NAMES: Final = ("gateway", "gateway.openfaas", "gateway.openfaas.svc", "gateway.openfaas.svc.cluster.local")
"""What users of OpenFaaS call the gateway from inside a function."""


def hosts(host: str) -> str:
    """`/etc/hosts` of a replica whose host name is `host`."""
    return f"{lonely_hosts(host)}{GATEWAY}\t{' '.join(NAMES)}\n"


def lonely_hosts(host: str) -> str:
    """The same for one that reaches nobody."""
    return f"127.0.0.1\tlocalhost {host}\n::1\tlocalhost ip6-localhost\n"


def resolv_conf(*, resolves: bool) -> str:
    """`/etc/resolv.conf`; without a name server inside, a look-up fails at once."""
    return (
        f"nameserver {GATEWAY}\noptions edns0 timeout:3 attempts:2\n" if resolves else "options attempts:1 timeout:1\n"
    )
