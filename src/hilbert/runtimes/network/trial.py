"""A trial: `python -m hilbert.runtimes.network.trial` sets up a network as for a replica and says what worked.

Single-threaded, as what it tries has to be. Each network is that of a child that waits, and is gone with it.
"""

from __future__ import annotations

import os
import selectors
import sys
import time
from collections.abc import Callable

import msgspec

from hilbert.core.network import Egress
from hilbert.runtimes.network import enter
from hilbert.runtimes.network.addresses import Pool, own_addresses
from hilbert.runtimes.network.kept import Kept
from hilbert.runtimes.network.setting_up import Order, set_up
from hilbert.runtimes.network.survey import Abilities, Trial
from hilbert.runtimes.network.uplink import PROGRAMS


def main() -> None:
    trial = msgspec.json.decode(sys.stdin.buffer.read(), type=Trial)
    failures: dict[str, str] = {}
    found = Abilities()
    why = _attempt(trial, "")
    if why:
        failures["own"] = why
    else:
        uplink = ""
        for candidate in trial.uplinks:
            why = _attempt(trial, candidate)
            if not why:
                uplink = candidate
                break
            failures[candidate] = why
        found = Abilities(own=True, uplink=uplink)
    found = msgspec.structs.replace(found, failures=failures)
    sys.stdout.buffer.write(msgspec.json.encode(found))


def _attempt(trial: Trial, uplink: str) -> str:
    """Why it does not work; empty when it does."""
    ready_read, ready_write = os.pipe()
    end_read, end_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end_write)
        _quietly(lambda: _live_apart(ready_write, end_read))
    os.close(ready_write)
    os.close(end_read)
    try:
        said = os.read(ready_read, 300)
        if said != b"ok":
            return said.decode(errors="replace") or "a network namespace cannot be made"
        return _set_up(trial, uplink, child)
    finally:
        os.close(ready_read)
        os.close(end_write)
        os.waitpid(child, 0)


def _live_apart(ready: int, end: int) -> None:
    try:
        enter.unshare_network()
        enter.raise_loopback(wait=0.0)
        os.write(ready, b"ok")
    except OSError as exc:
        os.write(ready, f"network namespaces cannot be made: {exc.strerror}".encode()[:300])
        return
    os.read(end, 1)


def _set_up(trial: Trial, uplink: str, child: int) -> str:
    """In a child of its own, which stays in the network it has entered; its status says whether all went well."""
    network = os.open(f"/proc/{child}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    answer, told = os.pipe()
    worker = os.fork()
    if worker == 0:
        _quietly(lambda: os.write(told, _work(_order(trial, uplink, network)).encode()[:400]))
    os.close(told)
    why = os.read(answer, 400).decode(errors="replace")
    os.close(answer)
    os.waitpid(worker, 0)
    if not why and uplink in PROGRAMS:
        return _carry(_order(trial, uplink, network), child)
    os.close(network)
    return why


def _order(trial: Trial, uplink: str, network: int) -> Order:
    return Order(
        network=network, uplink=uplink, egress=Egress(), resolves=True, gateway=True, ahead=0, label=trial.label, pool=Pool(trial.pool),
        programs=trial.programs, addresses=own_addresses(),
    )  # fmt: skip


def _work(order: Order) -> str:
    try:
        set_up(order)
    except OSError as exc:
        return str(exc) or type(exc).__name__
    return ""


def _carry(order: Order, child: int) -> str:
    """Takes over the order's network."""
    with selectors.DefaultSelector() as selector:
        kept = Kept("", os.pidfd_open(child), order, selector, lambda: None)
        try:
            why: str | None = kept.start_uplink()
            if not why:
                while (why := kept.uplink_state(time.monotonic())) is None:
                    time.sleep(0.002)
            return why.removeprefix("- ")
        finally:
            kept.close()


def _quietly(work: Callable[[], object]) -> None:
    """In a child: never return into the parent's code."""
    try:
        work()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
