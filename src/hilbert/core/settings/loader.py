"""Where settings come from, the later sources winning: defaults, `hilbert.toml`, environment, flags.

The environment spells `gateway.port` as `HILBERT_GATEWAY__PORT`; OpenFaaS's own names are understood as aliases
(`ALIASES`).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from hilbert.core.environment import environment
from hilbert.core.errors import Invalid, InvalidSettings
from hilbert.core.settings.checks import check_networks, check_url, nearest, short_digest
from hilbert.core.settings.platform import PathSettings
from hilbert.core.settings.sections import Settings
from hilbert.core.values import Duration, Quantity, parse_boolean, parse_namespace_name, parse_whole

ALIASES: Final[Mapping[str, str]] = {
    "port": "gateway.port",
    "read_timeout": "gateway.read_timeout",
    "write_timeout": "gateway.write_timeout",
    "upstream_timeout": "gateway.first_byte_timeout",
    "basic_auth": "gateway.basic_auth",
    "secret_mount_path": "gateway.secret_mount_path",
    "base_host": "iam.public_url",
    "function_namespace": "provider.default_namespace",
    "write_request_uri": "gateway.access_log",
    "HILBERT_STATE_DIR": "paths.state_dir",
    "HILBERT_RUN_DIR": "paths.run_dir",
}
"""Environment names of OpenFaaS's gateway and provider, and short ones of ours, for a setting each."""


class Loaded(msgspec.Struct, frozen=True):
    """Settings with where each value that is not a default came from (`gateway.port` -> `environment (port)`)."""

    settings: Settings
    origins: Mapping[str, str]


def load(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Loaded:
    """Read all sources. `flags` maps dotted names to values; None values are passed over. Raises `InvalidSettings`."""
    env = dict(environment() if environ is None else environ)
    given: dict[str, tuple[object, str]] = {}
    path = file or _find_file(env)
    if path is not None:
        given.update(_from_file(path))
    given.update(_from_environment(env))
    for key, value in (flags or {}).items():
        if value is not None:
            given[key] = (value, "flag")
    tree: dict[str, dict[str, object]] = {}
    kinds = _kinds()
    for key, (value, origin) in given.items():
        if key not in kinds:
            raise InvalidSettings(f"unknown setting {key} from {origin}", hint=nearest(key, kinds))
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = _typed(key, value, kinds[key], origin)
    sections = get_type_hints(Settings)
    settings = Settings(**{name: sections[name](**values) for name, values in tree.items()})
    _check(settings)
    return Loaded(settings=_with_paths(settings, env), origins={key: origin for key, (_, origin) in given.items()})


def known_settings() -> Mapping[str, tuple[Any, object]]:
    """Every setting's dotted name with its type and default, in order."""
    defaults = Settings()
    return {
        key: (kind, getattr(getattr(defaults, key.partition(".")[0]), key.partition(".")[2]))
        for key, kind in _kinds().items()
    }


@functools.cache  # A command asks several times, and each answer takes a millisecond to make.
def _kinds() -> Mapping[str, Any]:
    return {
        f"{section}.{name}": kind
        for section, struct in get_type_hints(Settings).items()
        for name, kind in get_type_hints(struct).items()
    }


def _find_file(env: Mapping[str, str]) -> Path | None:
    if named := env.get("HILBERT_CONFIG"):
        return Path(named)
    config_home = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "/")) / ".config")
    for candidate in (config_home / "hilbert" / "hilbert.toml", Path("/etc/hilbert/hilbert.toml")):
        if candidate.is_file():
            return candidate
    return None


def _from_file(path: Path) -> dict[str, tuple[object, str]]:
    import tomllib  # Most start without a file, and quickly.

    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InvalidSettings(f"cannot read {path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidSettings(f"{path}: {exc}") from exc
    found: dict[str, tuple[object, str]] = {}
    for section, values in tree.items():
        if not isinstance(values, dict):
            raise InvalidSettings(
                f"{path}: {section} is not in a section", hint="write it in a section such as [gateway]"
            )
        found.update({f"{section}.{name}": (value, str(path)) for name, value in values.items()})
    return found


def _from_environment(env: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    for name, key in ALIASES.items():
        if env.get(name):
            found[key] = (env[name], f"environment ({name})")
    for name, value in env.items():
        if name.startswith("HILBERT_") and "__" in name:
            section, _, rest = name.removeprefix("HILBERT_").lower().partition("__")
            found[f"{section}.{rest}"] = (value, f"environment ({name})")
    return found


def _typed(key: str, value: object, kind: Any, origin: str) -> object:
    """`value` as `kind`, whether it came as text or typed. Raises `InvalidSettings`."""
    if isinstance(kind, type) and isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
        return value
    text = str(value)
    try:
        if get_origin(kind) is Literal:
            if text not in get_args(kind):
                raise Invalid(f"must be one of {', '.join(get_args(kind))}, not {text!r}")
            return text
        return _PARSERS[kind](text)
    except Invalid as exc:
        raise InvalidSettings(f"{key}: {exc.message} (from {origin})") from exc


_PARSERS: Final[Mapping[Any, Callable[[str], object]]] = {
    bool: parse_boolean,
    int: parse_whole,
    str: str,
    Duration: lambda text: Duration.parse(text, bare_seconds=True),
    Quantity: Quantity.parse,
}


def _check(settings: Settings) -> None:
    gateway, provider = settings.gateway, settings.provider
    for key, port in (("gateway.port", gateway.port), ("gateway.metrics_port", gateway.metrics_port)):
        if not 0 <= port <= 65535:
            raise InvalidSettings(f"{key}: must be from 0 to 65535, not {port}")
    for key, count, least in (
        ("gateway.workers", gateway.workers, 0),
        ("gateway.max_header_bytes", gateway.max_header_bytes, 1024),
        ("gateway.max_header_lines", gateway.max_header_lines, 16),
        ("gateway.max_connections", gateway.max_connections, 1),
        ("gateway.max_source_connections", gateway.max_source_connections, 0),
        ("gateway.queue_length", gateway.queue_length, 0),
        ("provider.max_replicas", provider.max_replicas, 1),
        ("scaling.default_target", settings.scaling.default_target, 1),
        ("queue.slots", settings.queue.slots, 1),
        ("queue.namespace_slots", settings.queue.namespace_slots, 1),
        ("queue.function_slots", settings.queue.function_slots, 1),
        ("queue.attempts", settings.queue.attempts, 1),
        ("default_limits.processes", settings.default_limits.processes, 0),
        ("default_limits.open_files", settings.default_limits.open_files, 0),
    ):
        if count < least:
            raise InvalidSettings(f"{key}: must be at least {least}, not {count}")
    if gateway.trusted_proxies:
        check_networks("gateway.trusted_proxies", gateway.trusted_proxies)
    if settings.iam.public_url:
        check_url("iam.public_url", settings.iam.public_url)
    if settings.audit.webhook_url:
        check_url("audit.webhook_url", settings.audit.webhook_url)
    if gateway.port and gateway.port == gateway.metrics_port and gateway.host == gateway.metrics_host:
        raise InvalidSettings("gateway.metrics_port: must differ from gateway.port")
    try:
        parse_namespace_name(provider.default_namespace)
    except Invalid as exc:
        raise InvalidSettings(f"provider.default_namespace: {exc.message}") from exc


def _with_paths(settings: Settings, env: Mapping[str, str]) -> Settings:
    state, run = settings.paths.state_dir, settings.paths.run_dir
    if not state:
        home = env.get("XDG_DATA_HOME") or str(Path(env.get("HOME", "/")) / ".local" / "share")
        state = "/var/lib/hilbert" if os.geteuid() == 0 else f"{home}/hilbert"
    state = str(Path(state).absolute())
    if not run:
        digest = f"{short_digest(state):08x}"
        base = env.get("XDG_RUNTIME_DIR") if os.geteuid() != 0 else "/run"
        run = f"{base}/hilbert-{digest}" if base else f"/tmp/hilbert-{os.geteuid()}-{digest}"  # noqa: S108 - checked on use
    return msgspec.structs.replace(settings, paths=PathSettings(state_dir=state, run_dir=str(Path(run).absolute())))
