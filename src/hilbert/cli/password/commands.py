"""`password rotate|off|on`.

They change files that only the gateway's own user can write, and the gateway looks at these once a second. So they work
without credentials, and also while nobody can get in; and nothing that a client sends can switch the password on or off.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hilbert.cli.frame.failures import Failed
from hilbert.cli.frame.flags import HERE, Connection, Yes
from hilbert.cli.gateway.target import connect
from hilbert.cli.terminal.confirm import confirm
from hilbert.cli.terminal.output import note, out
from hilbert.client.sync import Client
from hilbert.core import settings as core_settings
from hilbert.core.environment import environment
from hilbert.core.errors import Unsupported
from hilbert.iam.basic import PASSWORD_FILE, rotate_password, switch_password


def rotate() -> None:
    folder = _folder()
    try:
        password = rotate_password(folder)
    except OSError as exc:
        raise _unwritable(folder, exc) from exc
    note("The old password is refused from now on. On other machines, run 'hilbert login' again.")
    out(password)


def off(*, yes: Yes = False, at: Connection = HERE) -> None:
    folder = _folder()
    with connect(at) as client:
        if not _has_other_way_in(client):
            raise Failed(
                "nobody could get in without the password: there is no token of an owner, and no role",
                hint="make one: hilbert token create NAME --namespace NAMESPACE --role owner",
            )
    confirm("Stop accepting the administrator's password?", yes=yes)
    try:
        switch_password(folder, on=False)
    except OSError as exc:
        raise _unwritable(folder, exc) from exc
    out("The password is off. To accept it again, run 'hilbert password on' on this machine.")


def on() -> None:
    folder = _folder()
    try:
        switch_password(folder, on=True)
    except OSError as exc:
        raise _unwritable(folder, exc) from exc
    out("The password is on.")


def _folder() -> Path:
    """Where the gateway of this machine keeps its password. Raises `Failed` if there is none."""
    loaded = core_settings.load(environ=environment()).settings
    mounted = loaded.gateway.secret_mount_path
    folder = Path(mounted) if mounted else Path(loaded.paths.state_dir) / "auth"
    if not (folder / PASSWORD_FILE).exists():
        raise Failed(
            f"no gateway on this machine has a password in {folder}",
            hint="run this on the gateway's machine, as its user; on Kubernetes, change the Secret basic-auth",
        )
    return folder


def _has_other_way_in(client: Client) -> bool:
    """Whether a token of an owner is in force, or somebody of an identity provider has a role."""
    now = datetime.now(UTC)
    try:
        tokens = client.list_tokens()
        kinds = {one.kind for one in client.list_access()}
    except Unsupported:
        return False
    if {"JwtIssuer", "Policy", "Role"} <= kinds:
        return True
    return any(
        token.role == "owner" and (not token.expires_at or datetime.fromisoformat(token.expires_at) > now)
        for token in tokens
    )


def _unwritable(folder: Path, exc: OSError) -> Failed:
    return Failed(f"cannot write in {folder}: {exc.strerror}", hint="run this as the user that runs the gateway")
