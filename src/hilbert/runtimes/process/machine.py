"""What this machine offers, found out by trying: the strongest sandbox, limits, user ids, network namespaces."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.bundle import Manifest, Mode
from hilbert.core.errors import HilbertError, InvalidSettings
from hilbert.core.isolation import STRICT, Promise, render_promises
from hilbert.core.model import Resources
from hilbert.core.network import NetworkKind, NetworkUse
from hilbert.core.ports import ReplicaPlan
from hilbert.runtimes.network import files
from hilbert.runtimes.network.survey import SHARED, Abilities
from hilbert.runtimes.process.images import Bundle, ImageStore
from hilbert.runtimes.process.interpreter import Interpreter, this_interpreter
from hilbert.runtimes.process.launch import abandon, launch
from hilbert.runtimes.process.sandbox import landlock
from hilbert.runtimes.process.sandbox.bubblewrap import Bubblewrap
from hilbert.runtimes.process.sandbox.confined import Landlock, Plain
from hilbert.runtimes.process.sandbox.contract import Occupant, Sandbox, own_etc
from hilbert.runtimes.replica import bwrap
from hilbert.runtimes.replica.folder import make_folder
from hilbert.runtimes.replica.group_limits import find_limiter
from hilbert.runtimes.replica.limits import Allowance, Limiter
from hilbert.runtimes.replica.users import Users

_TRIAL_MOST: Final = 20.0
"""Seconds for a trial start."""


class Machine:
    """The result of `survey`. Does not change while the runtime is open."""

    def __init__(
        self,
        *,
        interpreter: Interpreter,
        sandbox: Sandbox,
        limiter: Limiter,
        limiter_note: str,
        users: Users | None,
        own_network: bool,
        abilities: Abilities,
        refused: Mapping[str, str],
    ) -> None:
        """`refused` says of each stronger level why it is not used."""
        self.interpreter = interpreter
        self.sandbox = sandbox
        self.limiter = limiter
        self.own_network = own_network
        """A replica can have a network namespace at this sandbox level."""
        self.abilities = abilities
        """What can be made of such a namespace."""
        self._limiter_note = limiter_note
        self._users = users
        self._refused = refused

    @property
    def own_users(self) -> bool:
        """Each namespace has a user id of its own, so that what the kernel counts by user is counted for each."""
        return self._users is not None

    def user(self, tenant: int) -> tuple[int, int] | None:
        return None if self._users is None else self._users.user(tenant)

    def block(self, tenant: int) -> tuple[int, int] | None:
        """The first and the number of the ids that a namespace has for images with several users."""
        return None if self._users is None else self._users.block(tenant)

    def network(self, use: NetworkUse) -> NetworkKind:
        """What a replica gets that is to have `use`: the host's network where no other can be made."""
        can = self.own_network and self.abilities.own
        return NetworkKind.HOST if use.kind is NetworkKind.TENANT and not can else use.kind

    def placement(self, plan: ReplicaPlan, allowance: Allowance) -> dict[str, str]:
        """How a replica of `plan` will run, as shown to users."""
        found = {
            "runtime": "process",
            "sandbox": self.sandbox.level,
            "network": self.network(plan.network).value,
            **self.limits_placement(plan, allowance),
        }
        if self.network(plan.network) is NetworkKind.TENANT:
            found["egress"] = str(plan.network.egress) if self.abilities.uplink else "none"
        return found

    def limits_placement(self, plan: ReplicaPlan, allowance: Allowance) -> dict[str, str]:
        """The part of it that is the same however a replica is started."""
        limits = plan.spec.limits or Resources()
        user = self.user(plan.tenant)
        found = {"user": str(os.geteuid() if user is None else user[0])}
        if allowance.memory:
            given = str(limits.memory) if limits.memory is not None else f"{allowance.memory >> 20}Mi"
            origin = "" if limits.memory is not None else ", the default"
            found["memory-limit"] = f"{given} ({self.limiter.memory}{origin})"
        if allowance.cpu:
            given = str(limits.cpu) if limits.cpu is not None else f"{allowance.cpu / 1000:g}"
            origin = "" if limits.cpu is not None else ", the default"
            found["cpu-limit"] = (
                f"{given} ({self.limiter.cpu}{origin})" if self.limiter.cpu != "none" else "not enforced"
            )
        return found

    @property
    def limits_hold(self) -> bool:
        """Control groups bound memory, CPU and processes; watches of epoll, and the like, the kernel counts by user alone."""
        return self.limiter.whole and self.own_users

    def promises(self, use: NetworkUse) -> frozenset[Promise]:
        """What is promised of a replica that is to have the network `use`."""
        shared = self.network(use) is NetworkKind.HOST
        held = set(self.sandbox.promises(network=shared, own_user=self.own_users))
        if self.limiter.whole:
            held.add(Promise.REMAINS)
        if self.limits_hold:
            held.add(Promise.LIMITS)
        return frozenset(held)

    def remedies(self, missing: frozenset[Promise], use: NetworkUse) -> list[str]:
        """What would make these promises hold for a replica that is to have the network `use`, as requests."""
        if use.kind is NetworkKind.HOST and Promise.NETWORK in missing:
            remedies = ["remove the namespace's annotation com.hilbert.network: host"]
            missing -= {Promise.NETWORK, Promise.SOCKETS}
        else:
            remedies = []
        if Promise.LIMITS in missing:
            if not self.limiter.whole:
                remedies.append("let Hilbert write control groups: run it as root, or under systemd with Delegate=yes")
            if not self.own_users:
                remedies.append("run Hilbert as root, with free user ids, so that each namespace has a user of its own")
            missing -= {Promise.LIMITS, Promise.REMAINS}
        if Promise.SYSTEM_CALLS in missing:
            remedies.append("use a machine with x86-64 or ARM64 processors")
        if Promise.KERNEL in missing:
            remedies.append("deploy it as a container image: only those run under gVisor")
        if missing - {Promise.SYSTEM_CALLS, Promise.KERNEL}:
            level = self.sandbox.level
            remedies.append(
                "install bubblewrap, allow unprivileged user namespaces or run Hilbert as root, and restart it"
                if level != "bubblewrap"
                else "install a newer bubblewrap (0.8), and allow network namespaces"
            )
        if missing <= {Promise.KERNEL}:
            return remedies
        return [*remedies, "or set tenancy.isolation to single-owner if all namespaces trust each other"]

    def shortcomings(self) -> dict[str, str]:
        """Why no stronger sandbox is used, by level."""
        return {f"no_{level}": why for level, why in self._refused.items()}

    def facts(self) -> Mapping[str, str]:
        found = {
            "sandbox": self.sandbox.level,
            "memory-limit": self.limiter.memory,
            "cpu-limit": self.limiter.cpu,
            "user": "one for each namespace" if self._users is not None else f"{os.geteuid()} for all namespaces",
        }
        missing = STRICT - self.promises(NetworkUse())
        if missing:
            found["warning.isolation"] = (
                f"namespaces are not fully kept apart here: {render_promises(missing)} missing; "
                + "; ".join(self.remedies(missing, NetworkUse()))
            )
        found |= self.abilities.facts()
        found |= {f"sandbox.not-{level}": why for level, why in self._refused.items()}
        if self._limiter_note:
            found["warning.limits"] = self._limiter_note
        if self.limiter.cpu == "none":
            found["warning.cpu"] = "CPU limits are not enforced: control groups cannot be written here"
        if not self.own_network:
            found["network"] = "host"
            found["warning.network"] = (
                "functions share this machine's network, and those that must have no network are refused: no network namespaces here"
            )
        if self._users is None and os.geteuid() == 0:
            found["warning.user"] = "functions run as root without its privileges; no user ids of their own here"
        return {**found, **self.sandbox.facts()}


async def survey(
    folder: Path, *, images: ImageStore, wanted: str, scratch: int, abilities: Abilities = SHARED
) -> Machine:
    """Try levels from the strongest. `folder` is where replicas live; `wanted` is a level or `auto`, `scratch` in bytes.

    `abilities` is what the runtime's networks can do.

    Raises `InvalidSettings` when the wanted level does not work.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - once, at start
    interpreter = this_interpreter()
    label = group_name(folder)
    limiter, note = find_limiter(label)
    users = Users(label)
    refused: dict[str, str] = {}
    for level in ("bubblewrap", "landlock", "process") if wanted == "auto" else (wanted,):
        try:
            sandbox = await _make(level, interpreter, scratch)
            usable = await _usable_users(sandbox, interpreter, users, folder=folder, images=images)
        except (HilbertError, OSError) as exc:
            refused[level] = exc.message if isinstance(exc, HilbertError) else str(exc)
            continue
        own_network = await _works(sandbox, interpreter, usable, folder=folder, network=False) == ""
        return Machine(
            interpreter=interpreter,
            sandbox=sandbox,
            limiter=limiter,
            limiter_note=note,
            users=usable,
            own_network=own_network,
            abilities=abilities,
            refused=refused,
        )
    reasons = "; ".join(f"{level}: {why}" for level, why in refused.items())
    raise InvalidSettings(
        f"process.sandbox: {wanted} does not work here: {reasons}", hint="set process.sandbox to auto"
    )


def group_name(folder: Path) -> str:
    """The control group of an installation, named after where its replicas live."""
    return f"hilbert-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"


async def _make(level: str, interpreter: Interpreter, scratch: int) -> Sandbox:
    """The sandbox of that level. Raises `InvalidSettings` if the machine lacks what it is made of."""
    if level == "bubblewrap":
        executable, features = await bwrap.find()
        return Bubblewrap(interpreter, executable=executable, features=features, scratch=scratch)
    if level == "landlock":
        if landlock.abi() < 1:
            raise InvalidSettings("this kernel has no Landlock, or it is switched off")
        return Landlock(interpreter)
    return Plain(interpreter)


async def _usable_users(
    sandbox: Sandbox, interpreter: Interpreter, users: Users, *, folder: Path, images: ImageStore
) -> Users | None:
    """The users if replicas can run as them. Raises `InvalidSettings` if the sandbox does not work at all."""
    if users.available:
        if sandbox.level != "bubblewrap":
            _open_ways(folder, images)
        if await _works(sandbox, interpreter, users, folder=folder, network=True) == "":
            return users
    why = await _works(sandbox, interpreter, None, folder=folder, network=True)
    if why:
        raise InvalidSettings(why)
    return None


def _open_ways(folder: Path, images: ImageStore) -> None:
    """Let other users pass through, not look into, the folders above bundles and replicas."""
    for path in (folder, folder.parent, images.path, images.path.parent):
        with contextlib.suppress(OSError):
            path.chmod(path.stat().st_mode | 0o011)


async def _works(
    sandbox: Sandbox, interpreter: Interpreter, users: Users | None, *, folder: Path, network: bool
) -> str:
    """Really start one replica up to its gate: why that failed, or nothing."""
    trial = folder / f"trial-{secrets.token_hex(4)}"
    bundle = Bundle(path=trial / "tmp", manifest=Manifest(mode=Mode.STATIC), layers=(), pin="")
    user = None if users is None else users.user(0)
    etc = {} if network else {"hosts": files.hosts("trial"), "resolv.conf": files.resolv_conf(resolves=False)}
    occupant = Occupant(folder=trial, host="trial", bundle=bundle, user=user, network=network, etc=etc, read_only=True)
    try:
        make_folder(trial, owner=user, etc=own_etc(occupant), shared=sandbox.level != "bubblewrap")
        output = os.open(trial / "output", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            command = sandbox.command(occupant)
            command = msgspec.structs.replace(command, entry=msgspec.structs.replace(command.entry, probe=True))
            launched = await launch(interpreter, command, listen=output, output=output, environment={})
            os.close(launched.gate)
            os.close(launched.block)
            status = await _wait(launched.child)
            return "" if status == 0 else _last(output) or f"a trial start ended with status {status}"
        except HilbertError as exc:
            return _last(output) or exc.message
        finally:
            os.close(output)
    except OSError as exc:
        return str(exc)
    finally:
        shutil.rmtree(trial, ignore_errors=True)  # No code but ours has run in it.


async def _wait(child: int) -> int:
    for _ in range(int(_TRIAL_MOST / 0.01)):
        pid, status = os.waitpid(child, os.WNOHANG)  # noqa: ASYNC222 - does not wait
        if pid:
            return os.waitstatus_to_exitcode(status)
        await asyncio.sleep(0.01)
    abandon(child)
    return -1


def _last(output: int) -> str:
    """The last line that the trial wrote."""
    lines = os.pread(output, 65536, 0).decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
