"""Two hundred functions in twenty namespaces: deployed, invoked, updated, removed, and nothing left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import psutil

from support.platform import Platform, running, until

NAMESPACES = [f"team-{n:02}" for n in range(20)]
FUNCTIONS = [(namespace, f"fn-{n}") for namespace in NAMESPACES for n in range(10)]


def all_of(work: Callable[..., bool], items: Iterable[tuple[str, ...]], what: str, platform: Platform) -> None:
    """Do `work(*item)` for every item, a few at a time; every one must return true."""
    with ThreadPoolExecutor(8) as pool:
        wrong = [item for item, good in zip(items, pool.map(lambda item: work(*item), items), strict=True) if not good]
    assert not wrong, f"{what}: {len(wrong)} failed, e.g. {wrong[:3]}\n{platform.log[-4000:]}"


def spec(namespace: str, name: str, said: str) -> dict[str, object]:
    return {
        "service": name,
        "namespace": namespace,
        "image": "functions/alpine:latest",
        "envProcess": f"echo {said} {name}.{namespace}",
    }


def says(platform: Platform, namespace: str, name: str, said: str, *, within: float = 120.0) -> bool:
    """Whether the function comes to say what its version should."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        answer = platform.call(f"/function/{name}.{namespace}", timeout=within)
        if answer.status == 200 and answer.text == f"{said} {name}.{namespace}\n":
            return True
        time.sleep(0.05)
    return False


def footprint(platform: Platform) -> dict[str, tuple[int, int, int]]:
    """Open descriptors, threads and resident KiB of the platform's own processes."""
    assert platform.process is not None
    family = [
        psutil.Process(platform.process.pid),
        *platform.children("hilbert.server.control"),
        *platform.children("hilbert.dataplane.worker"),
    ]
    return {
        f"{n} {process.cmdline()[-2:]}": (process.num_fds(), process.num_threads(), process.memory_info().rss // 1024)
        for n, process in enumerate(family)
    }


def cycle(platform: Platform) -> None:
    """Everything, once."""
    marker = {"annotations": {"openfaas": "1"}}
    all_of(
        lambda name: platform.api("POST", "/system/namespace/", {"name": name, **marker}).status == 201,
        [(name,) for name in NAMESPACES],
        "create namespaces",
        platform,
    )
    all_of(
        lambda ns, fn: platform.api("POST", "/system/functions", spec(ns, fn, "one")).status == 202,
        FUNCTIONS,
        "deploy",
        platform,
    )
    all_of(lambda ns, fn: says(platform, ns, fn, "one"), FUNCTIONS, "invoke", platform)
    changed = FUNCTIONS[::4]
    all_of(
        lambda ns, fn: platform.api("PUT", "/system/functions", spec(ns, fn, "two")).status == 202,
        changed,
        "update",
        platform,
    )
    all_of(lambda ns, fn: says(platform, ns, fn, "two"), changed, "invoke updated", platform)
    half = FUNCTIONS[: len(FUNCTIONS) // 2]
    all_of(
        lambda ns, fn: platform.api("DELETE", "/system/functions", {"functionName": fn, "namespace": ns}).status == 202,
        half,
        "delete functions",
        platform,
    )
    all_of(
        lambda name: platform.api("DELETE", f"/system/namespace/{name}", {"name": name}).status == 202,
        [(name,) for name in NAMESPACES],
        "delete namespaces",
        platform,
    )
    all_of(lambda ns, fn: platform.call(f"/function/{fn}.{ns}").status == 404, FUNCTIONS, "gone", platform)


def test_two_hundred_functions_in_twenty_namespaces() -> None:
    """A second round needs no more descriptors or threads than the first left, and little more memory."""
    with running("gateway.workers=2", "provider.drain_delay=100ms") as platform:
        platform.api("GET", "/system/functions")
        cycle(platform)
        until(lambda: no_replicas(platform), within=90, what="replicas to end", log=lambda: platform.log)
        before = footprint(platform)
        cycle(platform)
        until(lambda: no_replicas(platform), within=90, what="replicas to end", log=lambda: platform.log)
        until(lambda: settled(before, footprint(platform)), within=30, what="the footprint to settle")
        until(
            lambda: not leftovers(platform), within=30, what="files to be removed", log=lambda: str(leftovers(platform))
        )


def leftovers(platform: Platform) -> list[str]:
    """Folders of replicas and logs of functions that are gone."""
    folders = list((platform.folder / "r" / "r").glob("*"))
    logs = [path for path in (platform.state / "logs").rglob("*.log") if "team-" in str(path)]
    return [str(path) for path in folders + logs]


def settled(before: dict[str, tuple[int, int, int]], after: dict[str, tuple[int, int, int]]) -> bool:
    """No more descriptors and threads than a handful, and not twice the memory, of what there was."""
    assert before.keys() == after.keys()
    return all(
        after[name][0] <= before[name][0] + 8
        and after[name][1] <= before[name][1] + 4
        and after[name][2] <= before[name][2] * 1.5 + 20_000
        for name in before
    )


def no_replicas(platform: Platform) -> bool:
    return not platform.replicas()
