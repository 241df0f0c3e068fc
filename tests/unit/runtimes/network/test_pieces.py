"""The parts of replicas' networks that need none: addresses, names of links, files, what is said of this machine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from hilbert.core.errors import InvalidSettings
from hilbert.core.network import Egress
from hilbert.runtimes.network import files, links
from hilbert.runtimes.network.addresses import Pool, own_addresses
from hilbert.runtimes.network.client import Network
from hilbert.runtimes.network.names import name_servers
from hilbert.runtimes.network.survey import Abilities

FIB = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.7
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
"""


def test_the_machines_own_addresses(tmp_path: Path) -> None:
    (tmp_path / "fib").write_text(FIB)
    assert own_addresses(tmp_path / "fib") == {"192.0.2.7"}


@pytest.mark.parametrize("wrong", ["10.0.0.0/8", "10.0.0.0/29", "10.0.0.1/16", "fd00::/64", "pool", ""])
def test_a_pool_that_cannot_be(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"process\.network_pool: "):
        Network(tmp_path, pool=wrong)


def test_numbers_are_given_once_until_the_pool_is_full() -> None:
    pool = Pool("10.9.0.0/28")
    assert {pool.address(number) for number in links.numbers(pool)} == {f"10.9.0.{n}" for n in range(2, 15)}
    assert pool.here == "10.9.0.1"


def test_a_links_name_says_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    name = links.name_of("1a2b", 0xFFFE, Egress())
    listed = links.name_of("1a2b", 3, Egress.parse("internet,10.1.0.0/16"))
    assert (name, listed) == ("hb1a2bi-fffe", "hb1a2bl-0003")
    assert len(name) < 16, "the kernel's limit on names of interfaces"
    others = ["lo", "eth0", "hb0", "hbridge", "hb1a2b", "hb9999i-0005"]
    monkeypatch.setattr(socket, "if_nameindex", lambda: list(enumerate([*others, name, listed])))
    assert links.present("1a2b") == {name: 0xFFFE, listed: 3}
    assert links.present() == {name: 0xFFFE, listed: 3, "hb9999i-0005": 5}


def test_name_servers_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# a comment\nsearch example.com\nnameserver 192.0.2.53\nnameserver fd00::53 # second\noptions ndots:2\n"
    )
    assert name_servers(path) == ["192.0.2.53", "fd00::53"]
    path.write_bytes(b"\xff\xfe")
    assert name_servers(path) == ["127.0.0.1"]
    assert name_servers(tmp_path / "absent") == ["127.0.0.1"]


def test_files_for_names() -> None:
    text = files.hosts("f")
    assert "127.0.0.80\tgateway gateway.openfaas " in text
    assert "127.0.0.1\tlocalhost f\n" in text
    assert "nameserver 127.0.0.80\n" in files.resolv_conf(resolves=True)
    assert "nameserver" not in files.resolv_conf(resolves=False)


def test_what_is_said_of_the_machine() -> None:
    facts = Abilities(own=True, uplink="veth").facts()
    assert facts == {"network": "one for each replica, out by address translation"}
    facts = Abilities(own=True, failures={"slirp4netns": "is not installed"}).facts()
    assert facts["network.not-slirp4netns"] == "is not installed"
    assert "cannot connect to anything but the gateway: slirp4netns: is not installed" in facts["warning.network"]
    facts = Abilities(failures={"own": "nft is not installed"}).facts()
    assert facts["network"] == "host"
    assert facts["warning.network"].endswith("nft is not installed")
