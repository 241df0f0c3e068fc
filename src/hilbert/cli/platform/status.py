"""`status`: what runs, where, and how much of it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Shape
from hilbert.cli.gateway.target import client_for, find_auth, resolve
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import columns, harmless, out
from hilbert.cli.terminal.progress import progress
from hilbert.client import running
from hilbert.core.environment import environment


class NamespaceCount(msgspec.Struct, frozen=True):
    """How much there is in one namespace."""

    name: str
    functions: int
    replicas: int
    ready: int


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that `status` shows."""

    gateway: str
    source: str
    """Why this gateway."""
    version: str
    provider: str
    namespaces: tuple[NamespaceCount, ...]
    pid: int = 0
    uptime_seconds: float = 0.0
    facts: dict[str, str] = {}
    """What the gateway says of itself: `sandbox`, `workers`, ..."""


def status(*, at: Connection = HERE, shape: Shape = PLAIN) -> None:
    environ = environment()
    target = resolve(at.gateway, environ=environ)
    auth = find_auth(target.url, token=at.token, environ=environ)
    gateway = running.find(environ)
    here = gateway if gateway is not None and gateway.url.rstrip("/") == target.url else None
    with client_for(target.url, auth, tls_no_verify=at.tls_no_verify, timeout=10.0) as client, progress("asking"):
        info = client.info()
        counts = []
        for name in sorted(client.list_namespaces()):
            functions = client.list_functions(name)
            counts.append(
                NamespaceCount(
                    name=name,
                    functions=len(functions),
                    replicas=sum(function.replicas for function in functions),
                    ready=sum(function.available_replicas for function in functions),
                )
            )
    found = Status(
        gateway=target.url,
        source=target.source,
        version=info.version.release,
        provider=info.provider.provider,
        namespaces=tuple(counts),
        pid=here.pid if here else 0,
        uptime_seconds=_uptime(here.started_at) if here else 0.0,
        facts=dict(info.hilbert or {}),
    )
    if shape.format != "table":
        write_document(found, shape.format)
        return
    _show(found)


def _show(found: Status) -> None:
    lines = [
        ("Gateway:", f"{found.gateway} ({found.source})"),
        ("Version:", found.version),
        ("Provider:", found.provider),
    ]
    if found.pid:
        lines.append(("Process:", f"pid {found.pid}, up {_ago(found.uptime_seconds)}"))
    lines += [
        (f"{key.replace('-', ' ').capitalize()}:", value)
        for key, value in sorted(found.facts.items())
        if _is_plain(key)
    ]
    if warnings := sum(key.startswith("warning") for key in found.facts):
        lines.append(("Warnings:", f"{warnings}; run 'hilbert doctor' to see them"))
    for line in columns(lines):
        out(harmless(line))
    out()
    rows = [("Namespace", "Functions", "Replicas", "Ready")]
    rows += [(entry.name, str(entry.functions), str(entry.replicas), str(entry.ready)) for entry in found.namespaces]
    for line in columns(rows):
        out(harmless(line))


def _is_plain(key: str) -> bool:
    """Not one of the facts behind others, and not said above already."""
    return "." not in key and key != "provider"


def _uptime(started_at: str) -> float:
    try:
        moment = datetime.fromisoformat(started_at)
    except ValueError:
        return 0.0
    return max(0.0, (datetime.now(UTC) - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))).total_seconds())


def _ago(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    return f"{hours}h{minutes}m" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"
