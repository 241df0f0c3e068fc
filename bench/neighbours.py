"""What a tenant can do to its neighbours: the gate of noisy neighbours, with and without limits set."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bench import load
from bench.report import Section
from support import container_images, floods
from support.neighbours import LIMITS, RATE, Neighbours, Seen
from support.platform import Platform

_IMAGE = "neighbours"
_ALL = "all at once"
_RATIO = 1.5
_CALL = 0.010
_API = 0.020
"""Aims: p99 of calls at most so many times, and so many seconds above, that without a flood; the same of API reads."""


def sections(where: Path, *, seconds: float) -> list[Section]:
    """Without limits, then with them: alone, beside each flood, beside all."""
    return [_measured(where, seconds=seconds, limits=False), _measured(where, seconds=seconds, limits=True)]


def _measured(where: Path, *, seconds: float, limits: bool) -> Section:
    given = ", ".join(f"`{name}={value}`" for name, value in LIMITS.items())
    section = Section(
        f"Noisy neighbours, {'with' if limits else 'without'} limits",
        f"One tenant floods, another makes {RATE:g} calls a second of a Python handler and as many of a container image, "
        f"{RATE / 5:g} API reads a second, and starts from zero one after the other. {seconds:g} s for each flood. Times count "
        "from when a request was to be sent. Floods come from processes of the lowest priority on the same machine. "
        + (f"The flooding tenant has {given}." if limits else "No limits are set."),
        ["flood", "call p50", "p99", "image p99", "API p99", "cold start p50", "most", "errors", "memory"],
    )
    image = container_images.missing_for_images() == "" and bool(container_images.busybox_layer())
    platform = Platform("log.level=warning", "provider.grace=1s")
    platform.environ["HILBERT_LOG__LEVEL"] = "warning"
    platform.start()
    try:
        if image:
            (platform.state / "oci").symlink_to(container_images.store_of_tests())
            container_images.load(
                container_images.python_image(where / f"image-{limits}.tar", container_images.SERVER, "neighbours"),
                _IMAGE,
            )
        else:
            section.findings.append("No container image was called: this machine cannot run any.")
        world = Neighbours(platform, limits=limits, image=_IMAGE if image else "")
        alone = world.watch(seconds)
        section.rows.append(_row("none", alone, world))
        missed: list[str] = []
        for title, kinds in (*((kind, [kind]) for kind in floods.FLOODS), (_ALL, list(floods.FLOODS))):
            with world.flood(kinds):
                time.sleep(1)
                seen = world.watch(seconds)
            section.rows.append(_row(title, seen, world))
            print(*section.rows[-1], sep=" | ", file=sys.stderr, flush=True)  # A whole run takes minutes.
            missed += [f"{title}: {what}" for what in _missed(alone, seen)]
            time.sleep(2)  # What was started comes to its end.
    finally:
        platform.close()
    section.findings.append(
        f"Aim: no error, p99 of calls at most {_RATIO} times that without a flood and {_CALL * 1e3:.0f} ms more, p99 of API "
        f"reads at most {_API * 1e3:.0f} ms more. "
        + ("Met beside every flood." if not missed else "Missed: " + "; ".join(missed) + ".")
    )
    return section


def _missed(alone: Seen, seen: Seen) -> list[str]:
    found = [f"{len(seen.errors)} errors ({seen.errors[0]})"] if seen.errors else []
    for what, most in (("call", _CALL), ("image", _CALL), ("API", _API)):
        if what in alone.times:
            before, now = (load.percentile(one.times[what], 0.99) for one in (alone, seen))
            if now > before + most or (what != "API" and now > max(_RATIO * before, 0.001)):
                found.append(f"{what} p99 {now * 1e3:.1f} ms ({before * 1e3:.1f} alone)")
    return found


def _row(title: str, seen: Seen, world: Neighbours) -> tuple[str, ...]:
    def at(what: str, share: float) -> str:
        times = seen.times.get(what)
        return f"{load.percentile(times, share) * 1e3:.1f} ms" if times else "-"

    memory = sum(world.memory().values()) >> 20
    return (
        title, at("call", 0.5), at("call", 0.99), at("image", 0.99), at("API", 0.99),
        at("cold start", 0.5), at("cold start", 1.0), str(len(seen.errors)), f"{memory} MiB",
    )  # fmt: skip
