"""Pod Security: what the levels `baseline` and `restricted` refuse, in the admission plug-in's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kubernetes_double.serving.status import Json

ENFORCE: Final = "pod-security.kubernetes.io/enforce"
WARN: Final = "pod-security.kubernetes.io/warn"
LEVELS: Final = ("privileged", "baseline", "restricted")
_BASELINE_CAPABILITIES: Final = frozenset(
    {
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP"),
        *("SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    }
)
_VOLUMES: Final = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
        "image",
    }
)
_SYSCTLS: Final = frozenset(
    {
        *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"),
        *("net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports"),
        *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
        *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
    }
)
Violation = tuple[str, str]
"""What is violated, and where."""


def _containers(spec: Json) -> list[Json]:
    return [item for kind in ("initContainers", "containers", "ephemeralContainers") for item in spec.get(kind) or ()]


def _context(container: Json) -> Json:
    return container.get("securityContext") or {}


def _named(names: list[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    return f"container {listed}" if len(names) == 1 else f"containers {listed}"


def _joined(containers: list[Json]) -> str:
    return _named([item["name"] for item in containers])


def violations(level: str, spec: Json) -> list[Violation]:
    """Of a Pod's spec; empty when the level takes it."""
    if level not in ("baseline", "restricted"):
        return []
    found = list(_baseline(spec, restricted=level == "restricted"))
    if level == "restricted":
        found.extend(_restricted(spec))
    return sorted(
        found, key=lambda item: _ORDER.index(item[0].split("=")[0]) if item[0].split("=")[0] in _ORDER else 99
    )


_ORDER: Final = (
    *("host namespaces", "privileged", "hostProcess", "hostPath volumes", "hostPort", "non-default capabilities"),
    *("procMount", "seLinuxOptions", "forbidden sysctls", "allowPrivilegeEscalation !", "unrestricted capabilities"),
    *("restricted volume types", "runAsNonRoot !", "runAsUser", "seccompProfile"),
)


def _baseline(spec: Json, *, restricted: bool) -> Iterator[Violation]:
    shared = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    if shared:
        yield "host namespaces", ", ".join(f"{name}=true" for name in shared)
    items = _containers(spec)
    privileged = [item for item in items if _context(item).get("privileged")]
    if privileged:
        yield "privileged", f"{_joined(privileged)} must not set securityContext.privileged=true"
    paths = [volume["name"] for volume in spec.get("volumes") or () if "hostPath" in volume]
    if paths and not restricted:
        listed = ", ".join(f'"{name}"' for name in paths)
        yield "hostPath volumes", f"volume{'s' if len(paths) > 1 else ''} {listed}"
    ports = [(item, [port["hostPort"] for port in item.get("ports") or () if port.get("hostPort")]) for item in items]
    ports = [(item, numbers) for item, numbers in ports if numbers]
    if ports:
        numbers = ", ".join(str(number) for _, inner in ports for number in inner)
        plural = "s" if numbers.count(",") else ""
        yield "hostPort", f"{_joined([item for item, _ in ports])} uses hostPort{plural} {numbers}"
    if not restricted:
        wrong = [(i, _added(i) - _BASELINE_CAPABILITIES) for i in items if _added(i) - _BASELINE_CAPABILITIES]
        if wrong:
            names = ", ".join(f'"{name}"' for name in sorted(set().union(*(names for _, names in wrong))))
            who = _joined([item for item, _ in wrong])
            yield "non-default capabilities", f"{who} must not include {names} in securityContext.capabilities.add"
    mounts = [item for item in items if _context(item).get("procMount") not in (None, "Default")]
    if mounts:
        kind = _context(mounts[0])["procMount"]
        yield "procMount", f'{_joined(mounts)} must not set securityContext.procMount to "{kind}"'
    controls = [
        item["name"]
        for item in (spec.get("securityContext") or {}).get("sysctls") or ()
        if item["name"] not in _SYSCTLS
    ]
    if controls:
        yield "forbidden sysctls", ", ".join(controls)
    contexts = [("pod", spec.get("securityContext") or {})] + [
        (f'container "{item["name"]}"', _context(item)) for item in items
    ]
    if not restricted:
        loose = [who for who, context in contexts if (context.get("seccompProfile") or {}).get("type") == "Unconfined"]
        if loose:
            yield (
                "seccompProfile",
                f'{" and ".join(loose)} must not set securityContext.seccompProfile.type to "Unconfined"',
            )


def _added(container: Json) -> set[str]:
    return set((_context(container).get("capabilities") or {}).get("add") or ())


def _restricted(spec: Json) -> Iterator[Violation]:
    pod = spec.get("securityContext") or {}
    items = _containers(spec)
    escalating = [item for item in items if _context(item).get("allowPrivilegeEscalation") is not False]
    if escalating:
        yield (
            "allowPrivilegeEscalation != false",
            f"{_joined(escalating)} must set securityContext.allowPrivilegeEscalation=false",
        )
    keeping = [item for item in items if "ALL" not in ((_context(item).get("capabilities") or {}).get("drop") or ())]
    adding = [item for item in items if _added(item) - {"NET_BIND_SERVICE"}]
    details = []
    if keeping:
        details.append(f'{_joined(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        names = ", ".join(f'"{name}"' for name in sorted(set().union(*map(_added, adding)) - {"NET_BIND_SERVICE"}))
        details.append(f"{_joined(adding)} must not include {names} in securityContext.capabilities.add")
    if details:
        yield "unrestricted capabilities", "; ".join(details)
    odd = [
        (volume["name"], kind)
        for volume in spec.get("volumes") or ()
        for kind in volume
        if kind not in _VOLUMES | {"name"}
    ]
    if odd:
        names = ", ".join(f'"{name}"' for name, _ in odd)
        kinds = ", ".join(f'"{kind}"' for kind in sorted({kind for _, kind in odd}))
        many = len(odd) > 1
        yield (
            "restricted volume types",
            f"volume{'s' if many else ''} {names} use{'' if many else 's'} restricted volume type{'s' if many else ''} {kinds}",
        )
    yield from _users(pod, items)
    loose = [
        item
        for item in items
        if (_context(item).get("seccompProfile") or pod.get("seccompProfile") or {}).get("type")
        not in ("RuntimeDefault", "Localhost")
    ]
    if loose:
        text = (
            f'pod or {_joined(loose)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        )
        yield "seccompProfile", text


def _users(pod: Json, items: list[Json]) -> Iterator[Violation]:
    root = [item for item in items if _context(item).get("runAsNonRoot", pod.get("runAsNonRoot")) is not True]
    if root:
        yield "runAsNonRoot != true", f"pod or {_joined(root)} must set securityContext.runAsNonRoot=true"
    zero = [item for item in items if _context(item).get("runAsUser") == 0]
    details = ["pod must not set runAsUser=0"] if pod.get("runAsUser") == 0 else []
    if zero:
        details.append(f"{_joined(zero)} must not set runAsUser=0")
    if details:
        yield "runAsUser=0", "; ".join(details)


def text(level: str, found: list[Violation]) -> str:
    listed = ", ".join(f"{what} ({where})" for what, where in found)
    return f'violate PodSecurity "{level}:latest": {listed}'


def level_of(namespace: Json | None, label: str) -> str:
    return str(((namespace or {}).get("metadata", {}).get("labels") or {}).get(label, "privileged"))
