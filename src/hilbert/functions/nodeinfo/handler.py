"""Tells about the machine that this replica runs on; with the body `verbose`, in more detail."""

import os
import platform
from pathlib import Path


def handle(event, context):
    lines = [
        f"Hostname: {context.hostname}",
        "",
        f"Arch: {platform.machine()}",
        f"CPUs: {len(os.sched_getaffinity(0))}",
        f"Total mem: {_memory() // 2**20}MB",
        f"Platform: {platform.system().lower()}",
        f"Uptime: {_uptime():.0f}",
    ]
    if event.body.strip() == b"verbose":
        lines += [
            "",
            f"Kernel: {platform.release()}",
            f"Python: {platform.python_version()}",
            f"Function: {context.name}.{context.namespace}",
            f"User: {os.getuid()}:{os.getgid()}",
            "Load: " + " ".join(f"{load:.2f}" for load in os.getloadavg()),
            *_processors(),
        ]
    return {"body": "\n".join(lines) + "\n", "headers": {"Content-Type": "text/plain; charset=utf-8"}}


def _memory():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _uptime():
    return float(Path("/proc/uptime").read_text().split()[0])


def _processors():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return [f"CPU {number}: {name}" for number, name in enumerate(names)]
