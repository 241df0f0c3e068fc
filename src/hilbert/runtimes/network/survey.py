"""What this machine can do for replicas' networks, found out by setting one up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Mapping
from typing import Final

import msgspec

from hilbert.runtimes.network import child
from hilbert.runtimes.network.addresses import Pool
from hilbert.runtimes.network.uplink import PROGRAMS

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TRIAL_MOST: Final = 30.0


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What `trial` is asked to try, on its standard input."""

    label: str
    pool: str
    programs: Mapping[str, str]
    uplinks: tuple[str, ...]


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What works here."""

    own: bool = False
    """Replicas can have a network of their own, in which `gateway` is reached."""
    uplink: str = ""
    """How packets get out of it: `veth`, `slirp4netns`, `pasta`; empty: not at all."""
    programs: Mapping[str, str] = {}
    failures: Mapping[str, str] = {}
    """Why a part does not work, by its name: `own` or an uplink."""

    def facts(self) -> dict[str, str]:
        """For `/system/info` and `doctor`."""
        found = {"network": _DESCRIPTIONS[self.uplink] if self.own else "host"}
        found |= {f"network.not-{name}": why for name, why in self.failures.items()}
        if not self.own:
            found["warning.network"] = (
                "functions share this machine's network: they reach what listens here, and each other's ports; "
                f"{self.failures.get('own', '')}"
            )
        elif not self.uplink:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.failures.items())
            found["warning.network"] = f"functions cannot connect to anything but the gateway: {reasons}"
        return found


SHARED: Final = Abilities(failures={"own": "none was asked for"})
"""Of a runtime that gives its replicas no network of their own."""

_DESCRIPTIONS: Final = {
    "": "one for each replica, which leads to the gateway and nowhere else",
    "veth": "one for each replica, out by address translation",
    "slirp4netns": "one for each replica, out by slirp4netns",
    "pasta": "one for each replica, out by pasta",
}


async def survey(label: str, pool: Pool) -> Abilities:
    """Try the ways out from the best, in some tenths of a second. Never raises: what fails is in the answer."""
    failures: dict[str, str] = {}
    programs = {name: path for name in ("nft", *PROGRAMS) if (path := shutil.which(name, path=_PATH))}
    if "nft" not in programs:
        return Abilities(failures={"own": "nft is not installed (package nftables)"})
    wanted = ("veth",) if os.geteuid() == 0 else PROGRAMS
    packages = {"slirp4netns": "slirp4netns", "pasta": "passt"}
    usable = []
    for uplink in wanted:
        if uplink == "veth" or uplink in programs:
            usable.append(uplink)
        else:
            failures[uplink] = f"{uplink} is not installed (package {packages[uplink]})"
    trial = Trial(label=label, pool=str(pool.network), programs=programs, uplinks=tuple(usable))
    tried = await _try(trial)
    return msgspec.structs.replace(tried, programs=programs, failures={**failures, **tried.failures})


async def _try(trial: Trial) -> Abilities:
    process = await asyncio.create_subprocess_exec(
        *child.command("trial"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True, env=child.environment(),
    )  # fmt: skip
    try:
        async with asyncio.timeout(_TRIAL_MOST):
            answer, said = await process.communicate(msgspec.json.encode(trial))
        return msgspec.json.decode(answer, type=Abilities)
    except TimeoutError:
        return Abilities(failures={"own": f"a trial took more than {_TRIAL_MOST:g} s"})
    except msgspec.MsgspecError:
        last = said.decode(errors="replace").strip().splitlines()
        return Abilities(failures={"own": last[-1][:300] if last else "a trial ended without an answer"})
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
