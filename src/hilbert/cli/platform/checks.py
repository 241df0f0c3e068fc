"""The checks behind `doctor`. Each looks, changes nothing, and says what to do."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from hilbert import __version__
from hilbert.cli.function.name import full_name
from hilbert.cli.gateway.target import Target
from hilbert.cli.platform.finding import Finding, Level
from hilbert.cli.platform.sign_in import sign_in_findings
from hilbert.cli.terminal.wording import count
from hilbert.client import running
from hilbert.client.sync import Client
from hilbert.core import settings as core_settings
from hilbert.core.errors import FunctionNotFound, HilbertError, InvalidSettings, NamespaceNotFound, Unauthenticated
from hilbert.wire.function import Function

_LOW_DISK: Final = 1024**3
_NO_DISK: Final = 64 * 1024**2
_LOG_LINES: Final = 10


def check_machine(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Python, folders, disk, ports, sandbox tools: what a platform started from here would meet."""
    yield Finding(Level.OK, f"hilbert {__version__} on Python {sys.version.split()[0]}, {sys.platform}")
    try:
        settings = core_settings.load(environ=environ).settings
    except InvalidSettings as exc:
        yield Finding(
            Level.BROKEN,
            f"the settings are not valid: {exc.message}",
            exc.hint or "see them with 'hilbert config show'",
        )
        return
    state = Path(settings.paths.state_dir)
    yield _folder(state)
    yield _disk(state)
    yield from _databases(state)
    yield _sqlite()
    gateway = running.read(state)
    if gateway is not None and running.is_alive(gateway):
        yield Finding(Level.OK, f"the platform is running (pid {gateway.pid}) at {gateway.url}")
    else:
        yield _port("gateway.port", settings.gateway.host, settings.gateway.port)
        yield _port("gateway.metrics_port", settings.gateway.metrics_host, settings.gateway.metrics_port)
    yield _bubblewrap(settings.process.sandbox)


def check_gateway(client: Client, target: Target) -> tuple[bool, list[Finding]]:
    """Whether the gateway answers and knows the caller, and what it says of itself."""
    where = f"{target.url} ({target.source})"
    try:
        client.check_health()
    except HilbertError as exc:
        todo = "start one with 'hilbert up --detach', or name another with --gateway or OPENFAAS_URL"
        return False, [Finding(Level.BROKEN, f"no gateway answers at {where}: {exc.message}", todo)]
    try:
        info = client.info()
    except Unauthenticated as exc:
        todo = f"log in: hilbert login --gateway {target.url}"
        return False, [Finding(Level.BROKEN, f"the gateway at {where} rejected the credentials: {exc.message}", todo)]
    except HilbertError as exc:
        return False, [Finding(Level.BROKEN, f"the gateway at {where} is not working: {exc.message}", exc.hint)]
    found = [Finding(Level.OK, f"gateway {info.version.release} answers at {where}, provider {info.provider.provider}")]
    found += _facts(info.hilbert or {})
    return True, found


_DATABASES: Final = ("hilbert.db", "tokens.db", "queue/queue.db")


def check_namespace(client: Client, namespace: str) -> Iterator[Finding]:
    """Every function of a namespace, in a line each."""
    try:
        client.get_namespace(namespace)
        functions = client.list_functions(namespace)
    except NamespaceNotFound:
        names = ", ".join(sorted(client.list_namespaces()))
        todo = f"the namespaces are {names}; create this one with: hilbert namespace create {namespace}"
        yield Finding(Level.BROKEN, f"namespace {namespace} does not exist", todo)
        return
    except HilbertError as exc:
        yield Finding(Level.BROKEN, f"namespace {namespace}: {exc.message}", exc.hint)
        return
    yield Finding(Level.OK, f"namespace {namespace} has {count(len(functions), 'function')}")
    for function in functions:
        yield _function(function, full_name(function.name, namespace))


def check_function(client: Client, name: str, namespace: str) -> Iterator[Finding]:
    """One function: its state and why, its secrets, what it wrote last."""
    where = full_name(name, namespace)
    try:
        function = client.get_function(name, namespace, usage=True)
    except FunctionNotFound:
        todo = f"deploy it, or find out where it is: hilbert list -A | grep {name}"
        yield Finding(Level.BROKEN, f"no such function: {where}", todo)
        return
    except HilbertError as exc:
        yield Finding(Level.BROKEN, f"function {where}: {exc.message}", exc.hint)
        return
    finding = _function(function, where)
    yield finding
    yield from _secrets(client, function, namespace)
    placement = function.hilbert.placement if function.hilbert else None
    for key, value in sorted((placement or {}).items()):
        yield Finding(Level.OK, f"runs with {key}: {value}")
    if finding.level is not Level.OK:
        yield from _last_lines(client, name, namespace)


def _folder(state: Path) -> Finding:
    there = next(path for path in (state, *state.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(
            Level.BROKEN,
            f"the state directory {state} is not writable",
            "set HILBERT_STATE_DIR to a directory of yours",
        )
    if there == state and state.stat().st_mode & 0o077:
        return Finding(Level.WARNING, f"other users can read the state directory {state}", f"chmod 700 {state}")
    return Finding(Level.OK, f"state directory {state}" + ("" if there == state else ", not created yet"))


def _disk(state: Path) -> Finding:
    there = next(path for path in (state, *state.parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / 1024**3:.1f} GiB free for the state directory"
    if free < _NO_DISK:
        return Finding(Level.BROKEN, text, "free some space: nothing can be stored")
    return Finding(Level.WARNING, text, "free some space soon") if free < _LOW_DISK else Finding(Level.OK, text)


def _databases(state: Path) -> Iterator[Finding]:
    """Whether those of functions and secrets, of tokens, and of queued calls are whole. Only looks, also while a gateway uses them."""
    paths = [path for path in map(state.joinpath, _DATABASES) if path.is_symlink() or path.exists()]
    broken = {path: fault for path in paths if (fault := _fault(path))}
    for path, fault in broken.items():
        todo = "stop the platform, move the file away with its -wal and -shm, and put a backup in its place"
        yield Finding(Level.BROKEN, f"the database {path} is damaged: {fault}", todo)
    whole = [str(path.relative_to(state)) for path in paths if path not in broken]
    if whole:
        yield Finding(Level.OK, f"whole in the state directory: {', '.join(whole)}")


def _fault(path: Path) -> str:
    """What is wrong with a database; empty: nothing."""
    import contextlib
    import sqlite3

    try:
        if not path.is_file():
            return "it is not a file"
        if path.stat().st_size == 0:
            return "it is empty"
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                return str(found)
            return (
                ""
                if database.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
                else "there are no tables in it"
            )
    except (OSError, sqlite3.Error) as exc:
        return str(exc)


def _sqlite() -> Finding:
    """Before 3.51.3, two connections that write or checkpoint at one moment can damage a file (sqlite.org/wal.html)."""
    import sqlite3

    text = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < (3, 51, 3):
        text += ", which has the WAL-reset fault; one connection alone writes to each file here, so it cannot occur"
    return Finding(Level.OK, text)


def _port(setting: str, host: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as exc:
            todo = f"stop what is listening there, or use another port: hilbert up --set {setting}=0"
            return Finding(Level.BROKEN, f"{setting}: {host}:{port} is not available: {exc.strerror}", todo)
    return Finding(Level.OK, f"{setting}: {host}:{port} is free")


def _bubblewrap(sandbox: str) -> Finding:
    if shutil.which("bwrap"):
        return Finding(Level.OK, "bubblewrap is installed")
    level = Level.BROKEN if sandbox == "bubblewrap" else Level.WARNING
    return Finding(
        level,
        "bubblewrap is not installed, so functions get a weaker sandbox without Linux namespaces of their own",
        "install it: apt-get install bubblewrap (Debian, Ubuntu), dnf install bubblewrap (Fedora)",
    )


_UNPROTECTED: Final = {
    "landlock": "functions share this machine's process list and host name",
    "process": "functions can read everything this user can read, including other functions' files and secrets",
}


def _facts(facts: Mapping[str, str]) -> Iterator[Finding]:
    """What the gateway says of how it runs functions."""
    why_not = tuple(
        f"{key.removeprefix('sandbox.not-')}: {value}"
        for key, value in sorted(facts.items())
        if key.startswith("sandbox.not-")
    )
    if sandbox := facts.get("sandbox"):
        weak = _UNPROTECTED.get(sandbox, "")
        todo = "for the strongest sandbox, get bubblewrap to work and restart the platform" if weak else ""
        level = Level.WARNING if weak else Level.OK
        yield Finding(level, f"sandbox: {sandbox}" + (f": {weak}" if weak else ""), todo, why_not)
    yield from _network(facts)
    yield from sign_in_findings(facts)
    for key in ("memory-limit", "cpu-limit"):
        if key in facts:
            loose = facts[key] == "none" or facts[key].startswith("rlimit")
            todo = (
                "give the platform its own control group: run it as root, or under systemd with Delegate=yes"
                if loose
                else ""
            )
            yield Finding(Level.WARNING if loose else Level.OK, f"{key}: enforced by {facts[key]}", todo)
    for key, value in sorted(facts.items()):
        if key.startswith("warning") and key != "warning.network":
            yield Finding(Level.WARNING, value)


_NETWORKS: Final = {
    "host": "functions share this machine's network: they reach what listens here, and each other's ports",
}


def _network(facts: Mapping[str, str]) -> Iterator[Finding]:
    """Which network functions have, and what would give them a better one."""
    network = facts.get("network")
    if network is None:
        return
    reasons = tuple(
        f"{key.removeprefix('network.not-')}: {value}"
        for key, value in sorted(facts.items())
        if key.startswith("network.not-")
    )
    if "warning.network" not in facts:
        yield Finding(Level.OK, f"network: {network}", "", reasons)
        return
    todo = "install nftables, and for an ordinary user slirp4netns, too; then restart the platform"
    if any("/dev/net/tun" in reason for reason in reasons):
        todo = "let this user open /dev/net/tun (most systems give it mode 0666), then restart the platform"
    yield Finding(Level.WARNING, f"network: {_NETWORKS.get(network, network)}", todo, reasons)


def _function(function: Function, where: str) -> Finding:
    detail = function.hilbert
    counts = f"{function.available_replicas} of {count(function.replicas, 'replica')} ready"
    if detail is None:
        well = function.available_replicas >= function.replicas
        return Finding(Level.OK if well else Level.WARNING, f"{where}: {counts}")
    why = ": ".join(part for part in (detail.reason, detail.message) if part)
    text = f"{where} is {detail.phase}, {counts}" + (f": {why}" if why else "")
    if detail.phase == "failed":
        return Finding(Level.BROKEN, text, _remedy(detail.reason, detail.message) or "see its log")
    if detail.phase in ("ready", "idle") and not why:
        return Finding(Level.OK, text)
    return Finding(Level.WARNING, text, _remedy(detail.reason, detail.message))


_REMEDIES: Final = {
    "CrashLoop": "the function keeps exiting; its last log lines say why",
    "Evicted": "it used more disk or memory than its node had: give it limits that fit",
    "ImageUnavailable": "build it here, or deploy a ready-made function: 'hilbert store list'",
    "InvalidSpec": "correct what the message names and deploy it again",
    "LimitExceeded": "deploy it with limits and requests that the namespace allows",
    "OOMKilled": "it needs more memory than its limit: deploy it with a larger --memory-limit",
    "OutOfMemory": "it needs more memory than its limit: deploy it with a larger --memory-limit",
    "PodRefused": "the message says what the cluster rejected",
    "PodSecurity": "it asks for more than the namespace's Pod Security level allows; check its profile",
    "ProbeFailing": "the function runs but does not answer: check that it listens and that its handler loads",
    "QuotaExceeded": "scale something down, or ask for a larger quota",
    "ScratchFull": "it writes more temporary files than default_limits.scratch allows",
    "SecretNotFound": "create the secret that is missing; the function then starts by itself",
    "StartFailed": "the message names the cause; run 'hilbert doctor' on the platform's machine for more",
    "TooSlow": "check in its log how far it gets, and that it listens in time",
    "Unschedulable": "no node has room for its requests or matches its constraints",
}
"""What to do about each reason that a provider gives."""

_PULLED: Final = (
    "check the image's name and that nodes can pull it: a private registry needs its credentials in the cluster"
)


def _remedy(reason: str, message: str) -> str:
    if reason == "ImageUnavailable" and "pulled" in message:
        return _PULLED
    return _REMEDIES.get(reason, "see its log" if reason else "")


def _secrets(client: Client, function: Function, namespace: str) -> Iterator[Finding]:
    if not function.secrets:
        return
    try:
        there = {secret.name for secret in client.list_secrets(namespace)}
    except HilbertError as exc:
        yield Finding(Level.WARNING, f"cannot list the secrets: {exc.message}", exc.hint)
        return
    for name in function.secrets:
        if name in there:
            yield Finding(Level.OK, f"secret {name} exists")
        else:
            where = f" -n {namespace}" if namespace else ""
            yield Finding(
                Level.BROKEN, f"secret {name} is missing", f"create it: hilbert secret create {name}{where} < FILE"
            )


def _last_lines(client: Client, name: str, namespace: str) -> Iterator[Finding]:
    try:
        lines = tuple(message.text.rstrip("\n") for message in client.logs(name, namespace, tail=_LOG_LINES))
    except HilbertError:
        return
    if lines:
        yield Finding(Level.WARNING, "its last log lines:", evidence=lines[-_LOG_LINES:])
