"""The weaker sandboxes have networks as the strongest has: the same way out, the same walls, the same gateway."""

from __future__ import annotations

import pytest

from support.networks import (
    HOST_LOOPBACK_PORT,
    HOST_PORT,
    HOST_PUBLIC,
    METADATA,
    ORDINARY,
    PORT,
    PRIVATE,
    PUBLIC,
    NetworkedPlatform,
    Networks,
)

_CALL = "import urllib.request\nprint(urllib.request.urlopen('http://gateway:8080/function/other', timeout=20).read().decode().strip())"
_RULES = """
import ctypes, os, subprocess
libc = ctypes.CDLL(None, use_errno=True)
print(libc.unshare(0x10000000), libc.setns(os.open("/proc/self/ns/net", 0), 0x40000000))
print(*[subprocess.run(words, capture_output=True).returncode == 0 for words in
    (["/usr/sbin/nft", "flush", "ruleset"], ["/usr/sbin/ip", "addr", "add", "10.213.0.1/32", "dev", "lo"])])
"""


@pytest.mark.parametrize("user", [0, ORDINARY], ids=["root", "ordinary"])
@pytest.mark.parametrize("level", ["landlock", "process"])
def test_networks_at_a_weaker_level(networks: Networks, level: str, user: int) -> None:
    platform = NetworkedPlatform(networks, f"process.sandbox={level}", user=user)
    try:
        platform.start()
        platform.probe("probe")
        platform.deploy("other", envProcess="echo here")
        assert platform.python("probe", _CALL) == "here"
        assert platform.reaches("probe", PUBLIC, PORT) == f"{PUBLIC} saw {HOST_PUBLIC}"
        assert platform.reaches("probe", "somewhere.example", PORT) == f"{PUBLIC} saw {HOST_PUBLIC}"
        closed = [(HOST_PUBLIC, HOST_PORT), ("127.0.0.1", HOST_LOOPBACK_PORT), ("::1", HOST_PORT), (PRIVATE, PORT)]
        for address, port in [*closed, *((address, PORT) for address in METADATA)]:
            assert "Error" in platform.reaches("probe", address, port)
        platform.namespace("closed", com__hilbert__network="none")
        platform.probe("probe", "closed")
        assert platform.reaches("probe.closed", "127.0.0.80", 8080) == "ConnectionRefusedError"
        assert platform.python("probe", _RULES).splitlines()[-1] == "False False"
        assert platform.reaches("probe", PRIVATE, PORT) != f"{PRIVATE} saw {HOST_PUBLIC}"
        assert platform.stop() == 0
        networks.links_end()
    finally:
        platform.close()
