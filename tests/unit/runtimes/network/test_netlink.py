"""Messages to the kernel about links, and rules by the library: in networks that the test makes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or shutil.which("nft") is None
    or subprocess.run(["unshare", "-n", "true"], check=False).returncode != 0,
    reason="needs root, nft and network namespaces",
)


def _apart(code: str) -> str:
    """What the code prints, run in a network of its own."""
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_pair_of_interfaces_with_address_and_routes() -> None:
    found = _apart("""
import os, socket
from pathlib import Path
from hilbert.runtimes.network import links
from hilbert.runtimes.network.addresses import Pool, own_addresses
from hilbert.runtimes.network.netlink import Netlink
pool = Pool("10.9.0.0/24")
network = os.open("/proc/self/ns/net", os.O_RDONLY)
with Netlink() as netlink:
    netlink.add_pair("hb1a2bi-0007", peer=links.INSIDE, network=network)
    try:
        netlink.add_pair("hb1a2bi-0007", peer="other", network=network)
    except FileExistsError as exc:
        print(exc.strerror)
    links.configure_outside(netlink, "hb1a2bi-0007", 7, pool)
    links.configure_inside(netlink, 7, pool)
    print(sorted(own_addresses()))
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        print(*line.split()[:3])
    print(Path("/proc/net/if_inet6").read_text().count("hb1a2bi") if Path("/proc/net/if_inet6").exists() else 0)
    netlink.remove("hb1a2bi-0007")
    print([name for _, name in socket.if_nameindex()])
""")
    lines = found.splitlines()
    assert lines[0] == "the network could not be configured: File exists"
    assert lines[1] == "['10.9.0.1', '10.9.0.7']"
    assert set(lines[2:-2]) == {"eth0 00000000 0100090A", "eth0 0100090A 00000000", "hb1a2bi-0007 0700090A 00000000"}
    assert lines[-2] == "0", "no address of the link's own is made up"
    assert lines[-1] == "['lo']", "both ends are gone"


@pytest.mark.parametrize("way", ["load", "load_by_program"])
def test_rules_by_library_and_by_program(way: str) -> None:
    program = shutil.which("nft")
    found = _apart(f"""
import subprocess
from hilbert.runtimes.network import nftables
nftables.{way}({program!r}, "table inet one {{ }}\\ntable inet two {{ }}\\n")
try:
    nftables.{way}({program!r}, "table inet three {{ }}\\nnonsense\\n")
except OSError as exc:
    print(exc)
print(subprocess.run([{program!r}, "list", "tables"], capture_output=True, text=True, check=True).stdout.split("\\n"))
""")
    error, tables = found.splitlines()
    assert error.startswith("nft: ")
    assert "nonsense" in error or "syntax error" in error
    assert tables == "['table inet one', 'table inet two', '']", "a text with a mistake changes nothing"


def test_installations_with_one_pool_never_give_a_number_twice_and_say_when_it_is_full() -> None:
    found = _apart("""
import os, signal
from pathlib import Path
from hilbert.core.network import Egress
from hilbert.runtimes.network import enter, links, setting_up
from hilbert.runtimes.network.addresses import Pool

def network():
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        enter.unshare_network()
        os.write(tell, b"1")
        signal.pause()
    os.read(told, 1)
    children.append(child)
    return os.open(f"/proc/{child}/ns/net", os.O_RDONLY)

def order(label):
    return setting_up.Order(network=network(), uplink="veth", egress=Egress(), resolves=False, gateway=True, ahead=0, label=label,
        pool=Pool("10.9.0.0/28"), programs={}, addresses=frozenset())

children = []
try:
    numbers = [setting_up._make_link(order("aaaa" if number % 2 else "bbbb")) for number in range(13)]
    print(sorted(numbers) == list(range(2, 15)), sorted(numbers) == sorted(links.present().values()))
    try:
        setting_up._make_link(order("cccc"))
    except OSError as exc:
        print(exc)
    print(len(links.present()))
finally:
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
""")
    assert found.splitlines() == ["True True", "all addresses of 10.9.0.0/28 are in use", "13"]
