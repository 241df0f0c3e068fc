"""What the parts of the benchmark have found, each at its last run, and the page that is made of it.

A part that is run alone (`make bench ONLY=...`) replaces what it has found before, so the page holds measured figures only.
"""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bench import ROOT, report
from bench.report import Section

PAGE = ROOT / "docs" / "benchmarks.md"
FILE = ROOT / "bench" / "results.json"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the benchmark, as `--only` names it."""

    date: str
    machine: str
    facts: Sequence[str]
    """Versions, and how it was measured."""
    sections: Sequence[Section]


def read(file: Path = FILE) -> dict[str, Part]:
    """By name. Raises `msgspec.ValidationError` for a file that is not one of these."""
    return msgspec.json.decode(file.read_bytes(), type=dict[str, Part]) if file.exists() else {}


def keep(found: Mapping[str, Sequence[Section]], facts: Sequence[str], file: Path = FILE) -> dict[str, Part]:
    """Write down what a run has found, in place of what the same parts have found before. Returns all."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    parts = read(file)
    for name, sections in found.items():
        parts[name] = Part(date=today, machine=machine(), facts=facts, sections=sections)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(parts.items())))) + b"\n")
    return parts


def page(parts: Mapping[str, Part], order: Sequence[str]) -> str:
    """The whole of `docs/benchmarks.md`. Parts that were never run are missing."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; do not edit. On what machine, and how, is [at the end](#runs).",
        "",
    ]
    known = [name for name in order if name in parts]
    for name in known:
        for section in parts[name].sections:
            lines += [section.markdown()]
    lines += ["## Runs", "", "Each part can be run alone, and its figures are those of its last run.", ""]
    runs: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for name in known:
        part = parts[name]
        runs.setdefault((part.date, part.machine, tuple(part.facts)), []).append(name)
    for (date, on, facts), names in sorted(runs.items(), reverse=True):
        lines += [f"- {date}: {', '.join(f'`{name}`' for name in names)}. {on} {' '.join(facts)}"]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """In one sentence."""
    return (
        f"{os.cpu_count()} cores ({report.processor()}), {report.memory()} of memory, "
        f"Linux {platform.release().split('-')[0]}."
    )
