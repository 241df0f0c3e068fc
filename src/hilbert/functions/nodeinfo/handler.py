"""Tells about the machine that this replica runs on; with the body `verbose`, in more detail."""

import os
import sys

ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64", "armv7l": "arm", "i686": "ia32"}
"""As Node.js names them, whose names the original gives."""


def handle(event, context):
    machine = os.uname()
    lines = [
        f"Hostname: {context.hostname}",
        "",
        f"Arch: {ARCHITECTURES.get(machine.machine, machine.machine)}",
        f"CPUs: {len(os.sched_getaffinity(0))}",
        f"Total mem: {_memory() // 2**20}MB",
        f"Platform: {machine.sysname.lower()}",
        f"Uptime: {_uptime():.0f}",
    ]
    if event.body.strip() == b"verbose":
        lines += [
            "",
            f"Kernel: {machine.release}",
            f"Python: {sys.version.split()[0]}",
            f"Function: {context.name}.{context.namespace}",
            f"User: {os.getuid()}:{os.getgid()}",
            "Load: " + " ".join(f"{load:.2f}" for load in os.getloadavg()),
            *_processors(),
        ]
    return {"body": "\n".join(lines) + "\n", "headers": {"Content-Type": "text/plain; charset=utf-8"}}


def _memory():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _uptime():
    return float(_read("/proc/uptime").split()[0])


def _processors():
    lines = _read("/proc/cpuinfo").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return [f"CPU {number}: {name}" for number, name in enumerate(names)]


def _read(path):
    with open(path) as file:  # noqa: PTH123 - pathlib's import would be a good part of this function's start
        return file.read()
