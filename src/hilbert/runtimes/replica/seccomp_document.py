"""The system call filter as an OCI runtime reads it (config-linux.md, `linux.seccomp`), for those that take no finished program.

With `seccomp.program_of_newer`, which such a runtime inherits, it refuses what `seccomp.program(apart=True)` refuses. Protocols above the last known one are refused as a whole, those below
it one by one, since a rule can look at each argument only once.
"""

from __future__ import annotations

import errno
import os
from typing import Any, Final

from hilbert.runtimes.replica.seccomp import (
    DATAGRAM,
    INET,
    INET6,
    NAMESPACE_FLAGS,
    NETLINK,
    PROTOCOLS,
    REFUSED,
    SEQPACKET,
    SET_LEASE,
    STREAM,
    TYPE,
    UNIX,
)

_NAMES: Final = {"x86_64": ["SCMP_ARCH_X86_64"], "aarch64": ["SCMP_ARCH_AARCH64"]}
_FAMILIES: Final = 46
"""Socket families up to this number are refused one by one (AF_MAX)."""
_TYPES: Final = range(16)
_LOW: Final = 0xFFFFFFFF
"""What the kernel looks at of an `int`; a plain comparison looks at all 64 bits. For sockets, the others count as too high."""

Rule = dict[str, Any]


def document() -> dict[str, Any]:
    """`linux.seccomp` of this machine's architecture. Other architectures' entries are closed, as runtimes do by default."""
    machine = os.uname().machine
    rules: list[Rule] = [_refuse(sorted(REFUSED[machine]))]
    rules.append(_refuse(["clone3"], number=errno.ENOSYS))
    # A comparison with a mask asks for equality, so each flag has a rule of its own.
    flags = [1 << bit for bit in range(32) if NAMESPACE_FLAGS & 1 << bit]
    rules += [_refuse(["clone", "unshare"], _masked(0, flag, flag)) for flag in flags]
    rules += _sockets()
    rules.append(_refuse(["fcntl"], _masked(1, _LOW, SET_LEASE)))
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": _NAMES[machine], "syscalls": rules}


def _sockets() -> list[Rule]:
    known = (UNIX, INET, INET6, NETLINK)
    both = ["socket", "socketpair"]
    rules = [_refuse(both, _compare(0, family, "SCMP_CMP_EQ")) for family in range(_FAMILIES) if family not in known]
    rules.append(_refuse(both, _compare(0, _FAMILIES - 1, "SCMP_CMP_GT")))
    for family in (INET, INET6):
        kinds = [kind for kind in _TYPES if kind not in (STREAM, DATAGRAM)]
        rules += [_refuse(["socket"], _compare(0, family, "SCMP_CMP_EQ"), _masked(1, TYPE, kind)) for kind in kinds]
        for protocol in range(max(PROTOCOLS)):
            if protocol not in PROTOCOLS:
                rules.append(
                    _refuse(["socket"], _compare(0, family, "SCMP_CMP_EQ"), _compare(2, protocol, "SCMP_CMP_EQ"))
                )
        rules.append(
            _refuse(["socket"], _compare(0, family, "SCMP_CMP_EQ"), _compare(2, max(PROTOCOLS), "SCMP_CMP_GT"))
        )
    rules.append(_refuse(["socket"], _compare(0, NETLINK, "SCMP_CMP_EQ"), _compare(2, 0, "SCMP_CMP_NE")))
    kinds = [kind for kind in _TYPES if kind not in (STREAM, DATAGRAM, SEQPACKET)]
    rules += [_refuse(both, _compare(0, UNIX, "SCMP_CMP_EQ"), _masked(1, TYPE, kind)) for kind in kinds]
    rules += [_refuse(["socketpair"], _compare(0, family, "SCMP_CMP_EQ")) for family in (INET, INET6, NETLINK)]
    return rules


def _refuse(names: list[str], *conditions: Rule, number: int = errno.EPERM) -> Rule:
    rule: Rule = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": number}
    return rule | ({"args": list(conditions)} if conditions else {})


def _compare(argument: int, value: int, how: str) -> Rule:
    return {"index": argument, "value": value, "op": how}


def _masked(argument: int, mask: int, value: int) -> Rule:
    """For runtimes, the mask is the value, and what it is compared with the second one."""
    return {"index": argument, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
