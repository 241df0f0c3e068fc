"""`config.json` of one replica for an OCI runtime (https://github.com/opencontainers/runtime-spec). Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hilbert.runtimes.oci.program import Program

ROOT: Final = "root"
"""Where the root is, from the folder with the document."""

_CAPABILITIES: Final = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID",
    "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
)  # fmt: skip
"""Of an image's root, within its own ids: what it takes to prepare files and then to become somebody else."""
_HIDDEN: Final = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
    "/proc/timer_list", "/proc/timer_stats",
)  # fmt: skip
_KEPT: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_QUIET: Final = ["nosuid", "noexec", "nodev"]


def document(
    program: Program,
    *,
    host: str,
    writable: bool,
    scratch: int,
    block: tuple[int, int] | None,
    filter_program: bytes = b"",
    filter_document: Mapping[str, Any] | None = None,
    changing: Sequence[str] = (),
) -> bytes:
    """What runs, and in what. The network is the one that the runtime itself is in.

    `block`: the first and the number of the ids here that the image's ids are; None: it is not for the runtime to map them.
    `filter_program` is for crun, which takes a filter as it is; `filter_document` for the others.
    `changing`: folders of the root whose files change from outside, for gVisor, which keeps what it has read of others.
    """
    rights = list(_CAPABILITIES) if program.user == 0 else []
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
        "maskedPaths": list(_HIDDEN),
        "readonlyPaths": list(_KEPT),
    }
    if block is not None:
        mapping = [{"containerID": 0, "hostID": block[0], "size": block[1]}]
        linux["namespaces"].append({"type": "user"})
        linux |= {"uidMappings": mapping, "gidMappings": mapping}
    if filter_document is not None:
        linux["seccomp"] = filter_document
    annotations = {}
    if filter_program:
        annotations["run.oci.seccomp_bpf_data"] = base64.b64encode(filter_program).decode()
    return msgspec.json.encode(
        {
            "ociVersion": "1.0.2",
            "hostname": host[:64],
            "root": {"path": ROOT, "readonly": not writable},
            "process": {
                "user": {"uid": program.user, "gid": program.group},
                "args": program.argv,
                "env": [f"{name}={_text(value)}" for name, value in program.environment.items()],
                "cwd": program.folder,
                "noNewPrivileges": True,
                "capabilities": {
                    "bounding": rights, "effective": rights, "permitted": rights, "inheritable": [], "ambient": [],
                },
            },
            "mounts": [*_mounts(scratch), *map(_again, changing)],
            "linux": linux,
            "annotations": annotations,
        }
    )  # fmt: skip


def _mounts(scratch: int) -> Sequence[Mapping[str, Any]]:
    def tmpfs(place: str, most: int, mode: str, *options: str) -> dict[str, Any]:
        size = [f"size={most}"] if most else []
        options = ("nosuid", "nodev", *options, f"mode={mode}", *size)
        return {"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options}

    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": _QUIET},
        {**tmpfs("/dev", 65536, "0755"), "options": ["nosuid", "strictatime", "mode=0755", "size=65536"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": terminals},
        tmpfs("/dev/shm", scratch // 2, "1777", "noexec"),  # noqa: S108 - its own
        tmpfs("/tmp", scratch, "1777"),  # noqa: S108 - its own
    ]


def _again(folder: str) -> Mapping[str, Any]:
    """What is there already, as a mount of its own."""
    return {"destination": folder, "type": "bind", "source": f"{ROOT}{folder}", "options": ["rbind", "ro"]}


def _text(value: str) -> str:
    """JSON has no bytes that are not text; an environment may."""
    return value.encode(errors="surrogateescape").decode(errors="replace")
