"""`registry-login`: a registry's credentials as a file, for builders and clusters."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import flag
from hilbert.cli.terminal.output import out, warn

_FILE: Final = Path("credentials/config.json")
_DOCKER_HUB: Final = "https://index.docker.io/v1/"


def registry_login(
    *,
    server: Annotated[str, flag("Registry.", "--server")] = _DOCKER_HUB,
    username: Annotated[str, flag("User name.", "--username", "-u")] = "",
    password: Annotated[
        str, flag("Password; other users can see it, so prefer --password-stdin.", "--password", "-p")
    ] = "",
    password_stdin: Annotated[bool, flag("Read the password from standard input.", "--password-stdin", "-s")] = False,
    ecr: Annotated[bool, flag("Use Amazon's own credential helper.", "--ecr")] = False,
    account_id: Annotated[str, flag("AWS account ID; needs --ecr.", "--account-id")] = "",
    region: Annotated[str, flag("AWS region; needs --ecr.", "--region")] = "",
) -> None:
    if ecr:
        if not account_id or not region:
            raise UsageError("--ecr needs --account-id and --region")
        document: dict[str, object] = {
            "credsStore": "ecr-login",
            "credHelpers": {f"{account_id}.dkr.ecr.{region}.amazonaws.com": "ecr-login"},
        }
    else:
        secret = _password(password, piped=password_stdin)
        if not username or not secret:
            raise UsageError("give --username and --password-stdin")
        token = base64.b64encode(f"{username}:{secret}".encode()).decode()
        document = {"auths": {server: {"auth": token}}}
    _write(document)
    out(f"Wrote {_FILE}..OK")


def _password(password: str, *, piped: bool) -> str:
    if password and piped:
        raise UsageError("use either --password or --password-stdin, not both")
    if password:
        warn("other users of this machine can see a password in a flag; consider --password-stdin")
        return password
    return sys.stdin.readline().rstrip("\r\n") if piped else ""


def _write(document: dict[str, object]) -> None:
    from hilbert.cli.secret.commands import write_private

    try:
        _FILE.parent.mkdir(mode=0o700, exist_ok=True)
        _FILE.unlink(missing_ok=True)
    except OSError as exc:
        raise Failed(f"cannot write {_FILE}: {exc.strerror}") from exc
    write_private(_FILE, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
