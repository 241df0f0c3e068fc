"""The texts for nftables, tried with `nft` itself in a network of the test's own where there is one."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess

import pytest

from hilbert.core.network import Egress
from hilbert.runtimes.network import rules
from hilbert.runtimes.network.addresses import NEVER, PRIVATE, Pool

POOL = Pool("10.213.0.0/16")


def lines(text: str, chain: str) -> list[str]:
    """The rules of one chain."""
    body = text.partition(f"chain {chain} {{")[2].partition("}\n  chain")[0]
    return [line.strip() for line in body.splitlines() if line.strip() and not line.strip().startswith("type ")]


def covered(network: str, rule: str) -> bool:
    """Whether the rule's set has the whole network in it."""
    named = [ipaddress.IPv4Network(one) for one in rule.partition("{ ")[2].partition(" }")[0].split(", ")]
    return any(ipaddress.IPv4Network(network).subnet_of(one) for one in named)


def test_what_nobody_may_reach_is_refused_before_anything_is_allowed() -> None:
    text = rules.inside(Egress.parse("internet,0.0.0.0/0,169.254.169.254"), never=["192.0.2.7", "10.213.0.0/16"])
    found = lines(text, "output")
    closed = next(number for number, line in enumerate(found) if "169.254.0.0/16" in line and "reject" in line)
    first = next(number for number, line in enumerate(found) if line.endswith("accept") and "lo" not in line)
    assert closed < first
    for network in (*NEVER, "192.0.2.7/32", "10.213.0.0/16"):
        assert covered(network, found[closed])
    assert found[1].startswith("meta nfproto ipv6 reject")


def test_the_internet_is_without_private_networks_and_a_list_is_just_the_list() -> None:
    found = lines(rules.inside(Egress(), never=[]), "output")
    assert all(covered(network, found[-3]) for network in PRIVATE)
    assert found[-2] == "accept"
    found = lines(rules.inside(Egress.parse("10.1.0.0/16:53/udp"), never=[]), "output")
    assert [line for line in found if line.endswith("accept")] == [
        'oifname "lo" accept',
        "ip daddr 10.1.0.0/16 udp dport 53-53 accept",
    ]
    assert found[-1].startswith("reject")
    assert not [line for line in lines(rules.inside(Egress.parse("none"), never=[]), "output")[1:] if "accept" in line]


def test_the_machines_table_touches_our_links_and_our_pool_only() -> None:
    text = rules.machine("1a2b", POOL)
    for chain in ("from", "input", "forward", "out"):
        for line in lines(text, chain):
            assert line == "}" or '"hb1a2b' in line, "every rule names our links"
    assert "table inet hilbert-1a2b" in text
    assert "flush ruleset" not in text


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nft") is None, reason="needs root and nft (package nftables)")
@pytest.mark.parametrize(
    "egress",
    ["internet", "none", "10.1.0.0/16", "10.1.0.7:5432,10.1.0.7:53/udp,10.2.0.0/16/tcp", "internet,10.0.0.0/8:1-9"],
)
def test_nft_takes_them_again_and_again(egress: str) -> None:
    inside = rules.inside(Egress.parse(egress), never=["192.0.2.7", "10.213.0.1", "10.213.0.0/16"])
    both = inside + inside + rules.machine("1a2b", POOL) + rules.machine("1a2b", POOL)
    script = "nft -f - && nft list ruleset"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", script], input=both, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("chain ") == 7
    gone = subprocess.run(
        ["unshare", "-n", "sh", "-c", script],
        input=both + rules.without_machine("1a2b") * 2,
        capture_output=True,
        text=True,
        check=False,
    )
    assert gone.stdout.count("chain ") == 3, gone.stderr
