"""The gateway on this machine: where its state is, whether it runs, and its credentials."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from hilbert.client.auth import BasicAuth
from hilbert.client.faults import GatewayUnreachable
from hilbert.core import settings as core_settings
from hilbert.core.errors import InvalidSettings


class LocalGateway(msgspec.Struct, frozen=True):
    """`STATE/gateway.json`, which the gateway writes while it runs."""

    url: str
    pid: int
    metrics_url: str = ""
    run_dir: str = ""
    version: str = ""
    started_at: str = ""


def state_dir(environ: Mapping[str, str], *, flag: str = "") -> Path:
    """The state directory that a platform started from here would use. Raises `InvalidSettings`."""
    loaded = core_settings.load(environ=environ, flags={"paths.state_dir": flag or None})
    return Path(loaded.settings.paths.state_dir)


def find(environ: Mapping[str, str], *, flag: str = "") -> LocalGateway | None:
    """The gateway that says it runs here. It may have been killed since: `is_alive` tells."""
    try:
        return read(state_dir(environ, flag=flag))
    except InvalidSettings:
        return None


def read(state: Path) -> LocalGateway | None:
    """`gateway.json` of a state directory, if it is there and whole."""
    try:
        return msgspec.json.decode((state / "gateway.json").read_bytes(), type=LocalGateway)
    except (OSError, msgspec.MsgspecError):
        return None


def is_alive(gateway: LocalGateway) -> bool:
    """Whether the process of `gateway.json` is still the platform's supervisor, not another with its pid."""
    try:
        command = Path(f"/proc/{gateway.pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"hilbert.server" in command.split(b"\0")


def load_auth(environ: Mapping[str, str], url: str) -> BasicAuth | None:
    """The credentials that the gateway at `url` made for itself, if it is the one of this machine.

    Only while it runs: afterwards its port may be anybody's, who must not be told its password.
    """
    gateway = find(environ)
    if gateway is None or gateway.url.rstrip("/") != url.rstrip("/") or not is_alive(gateway):
        return None
    folder = state_dir(environ) / "auth"
    if (folder / "basic-auth-off").exists():
        return None
    try:
        user = (folder / "basic-auth-user").read_text(encoding="utf-8").strip()
        password = (folder / "basic-auth-password").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return BasicAuth(user, password)


def find_with_auth(environ: Mapping[str, str]) -> tuple[str, BasicAuth | None]:
    """URL and credentials of the gateway that runs here. Raises `GatewayUnreachable` when none does."""
    gateway = find(environ)
    if gateway is None or not is_alive(gateway):
        raise GatewayUnreachable("no gateway runs on this machine", hint="start one with 'hilbert up'")
    url = gateway.url.rstrip("/")
    return url, load_auth(environ, url)


def first_steps(url: str, state: Path) -> list[str]:
    """What somebody who has just started this machine's gateway wants to know, as whole lines."""
    base = url.rstrip("/")
    password = state / "auth" / "basic-auth-password"
    lines = [f"Dashboard: {base}/ui/"]
    if (state / "auth" / "basic-auth-off").exists():
        lines.append("The password is off: log in with a token. To accept it again: hilbert password on")
        return lines
    if password.exists():
        lines.append(f"Log in as admin; the password is in {password}")
    lines += [
        "This machine's hilbert commands need no login. Try one in another terminal:",
        f"  hilbert store deploy figlet && curl -d Hilbert {base}/function/figlet",
    ]
    return lines
