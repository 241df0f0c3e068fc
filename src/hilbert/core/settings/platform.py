"""Settings of the platform itself: who runs functions, who may, what is recorded, and where files are."""

from __future__ import annotations

from typing import Literal

import msgspec

from hilbert.core.values import DEFAULT_NAMESPACE, Duration, Quantity


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What runs the functions."""

    name: Literal["host", "memory", "kubernetes"] = "host"
    """`host` runs functions on this machine, `kubernetes` in a cluster; `memory` is for tests."""
    runtime: Literal["process"] = "process"
    """How `host` runs a replica: `process` starts each as a sandboxed process."""
    default_namespace: str = DEFAULT_NAMESPACE
    """Namespace of functions deployed without one."""
    grace: Duration = Duration.of(30)
    """How long a stopping replica may take to finish its calls. A function with a longer `write_timeout` has that, except when the platform stops."""
    drain_delay: Duration = Duration.of(0.5)
    """Time between taking a replica out of the routes and telling it to stop."""
    start_timeout: Duration = Duration.of(60)
    """How long a replica may take to become ready before it counts as failed."""
    max_replicas: int = 100
    """Maximum number of replicas of one function on this machine."""
    idle: Literal["stop", "freeze"] = "stop"
    """What becomes of the replicas of a function that goes to zero on this machine (label `com.openfaas.scale.zero`). `freeze` keeps them in memory without running, so that the next call is answered within milliseconds. The function's annotation `com.hilbert.scale.idle` overrides this."""
    frozen_time: Duration = Duration.of(3600)
    """How long a frozen replica keeps its memory; then it is stopped."""


class IamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Single sign-on."""

    public_url: str = ""
    """URL by which clients know this gateway, such as `https://functions.example.com`: the issuer of its tokens. Empty: the address that it listens on. A change makes its tokens invalid."""


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The audit log, and the webhook that receives it."""

    max_size: Quantity = Quantity.parse("1Gi")
    """Maximum size of the log. The oldest records beyond it are removed."""
    max_age: Duration = Duration.of(365 * 86_400)
    """How long records are kept, if there is room."""
    webhook_url: str = ""
    """URL that gets each record as an event, as OpenFaaS sends them (`api_access`). Empty: none."""
    webhook_secret_file: str = ""
    """File with the secret that signs what is sent (`X-Openfaas-Signature-256`)."""


class UsageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The webhook that is told what each call has used."""

    webhook_url: str = ""
    """URL that gets an event for each call, as OpenFaaS sends them (`function_usage`). Empty: none."""
    webhook_secret_file: str = ""
    """File with the secret that signs what is sent (`X-Openfaas-Signature-256`)."""
    excluded_namespaces: str = ""
    """Comma-separated namespaces whose calls are not reported, such as that of a function which receives the events."""
    max_waiting: Quantity = Quantity.parse("256Mi")
    """Maximum size of the events that wait until the webhook accepts them. The oldest beyond it are lost."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The platform's own log, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level to write."""
    form: Literal["auto", "console", "json"] = "auto"
    """`auto` writes readable text to a terminal and JSON otherwise."""


class PathSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Folders. Both are created with mode 0700."""

    state_dir: str = ""
    """Data that must survive a reboot. Empty: `/var/lib/hilbert` for root, else `~/.local/share/hilbert` (XDG)."""
    run_dir: str = ""
    """Sockets. Keep the path short, because the kernel limits socket paths to 107 bytes. Empty: a folder of your own, derived from `state_dir`."""
