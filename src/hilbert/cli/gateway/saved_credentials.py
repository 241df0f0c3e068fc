"""`~/.openfaas/config.yml`: credentials by gateway, shared with OpenFaaS's own command line.

The folder is `OPENFAAS_CONFIG`, or `./.openfaas` when `CI` is set, or `~/.openfaas`; made with mode 0700, the file 0600.
Entries and keys that are not understood are kept as they are.
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hilbert.cli.frame.failures import Failed
from hilbert.client.auth import Auth, BasicAuth, TokenAuth


def config_file(environ: Mapping[str, str]) -> Path:
    if named := environ.get("OPENFAAS_CONFIG"):
        return Path(named).expanduser() / "config.yml"
    if environ.get("CI", "").lower() in ("true", "1"):
        return Path(".openfaas/config.yml")
    return Path(environ.get("HOME", "/")) / ".openfaas" / "config.yml"


def load_auth(path: Path, url: str) -> Auth | None:
    """The saved credentials for the gateway at `url`. Raises `Failed` when the file cannot be read."""
    if not path.exists():
        return None
    for entry in _entries(_read(path)):
        if _same(entry.get("gateway"), url):
            token = str(entry.get("token") or "")
            return _basic(token, path) if entry.get("auth") == "basic" else TokenAuth(token)
    return None


def save_basic(path: Path, url: str, *, user: str, password: str) -> None:
    """Put the credentials for `url` in place of what was saved for it. Raises `Failed`."""
    token = binascii.b2a_base64(f"{user}:{password}".encode(), newline=False).decode()
    _save(path, url, {"auth": "basic", "token": token, "options": []})


def _save(path: Path, url: str, entry: Mapping[str, object]) -> None:
    document = _read(path) if path.exists() else {}
    kept = [one for one in _entries(document) if not _same(one.get("gateway"), url)]
    # The original lower-cases the whole URL, and looks it up by exactly that.
    document["auths"] = [*kept, {"gateway": url.lower(), **entry}]
    _write(path, document)


def save_token(path: Path, url: str, *, token: str, options: Mapping[str, str]) -> None:
    """The same for a token of single sign-on, with how it was got. Raises `Failed`."""
    pairs = [{"name": name, "value": value} for name, value in options.items()]
    _save(path, url, {"auth": "oauth2", "token": token, "options": pairs})


def load_options(path: Path, url: str) -> dict[str, str]:
    """How the token for `url` was got the last time. Raises `Failed`."""
    for entry in _entries(_read(path)) if path.exists() else ():
        if _same(entry.get("gateway"), url):
            options = entry.get("options")
            pairs = [one for one in options if isinstance(one, dict)] if isinstance(options, list) else []
            return {str(one.get("name")): str(one.get("value")) for one in pairs}
    return {}


def forget(path: Path, url: str) -> bool:
    """Remove the credentials for `url`; returns whether there were any. Raises `Failed`."""
    if not path.exists():
        return False
    document = _read(path)
    kept = [entry for entry in _entries(document) if not _same(entry.get("gateway"), url)]
    found = len(kept) != len(_entries(document))
    if found:
        document["auths"] = kept
        _write(path, document)
    return found


def _same(gateway: object, url: str) -> bool:
    # The original lower-cases the whole URL before it saves it.
    return isinstance(gateway, str) and gateway.rstrip("/").lower() == url.rstrip("/").lower()


def _basic(token: str, path: Path) -> BasicAuth:
    try:
        user, _, password = binascii.a2b_base64(token, strict_mode=True).decode().partition(":")
    except ValueError as exc:
        raise Failed(f"{path}: a token is not valid base64", hint="run 'hilbert login' again") from exc
    return BasicAuth(user, password)


def _entries(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = document.get("auths") or []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise Failed(f"cannot read {path}: {exc.strerror}") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise Failed(f"{path} is not valid YAML", hint="fix or remove it, then run 'hilbert login'") from exc
    return document if isinstance(document, dict) else {}


def _write(path: Path, document: Mapping[str, Any]) -> None:
    """Replace the file in one step, never readable by others."""
    import tempfile

    import yaml

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".config-", dir=path.parent)  # mkstemp makes it 0600.
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                yaml.safe_dump(dict(document), file, sort_keys=False)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise Failed(f"cannot write {path}: {exc.strerror}") from exc
