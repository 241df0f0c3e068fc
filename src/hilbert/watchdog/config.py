"""The watchdog's configuration: environment variables, read once.

Names and defaults are those of OpenFaaS's of-watchdog and classic watchdog; `HILBERT_` names come from the runtime.
A named tuple rather than a msgspec struct: importing msgspec costs more time than the rest of the watchdog.
"""

# ruff: noqa: PTH112, PTH118
# The import of pathlib would be paid at every start.

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from hilbert.kit.durations import parse_nanoseconds

MODES: Final = ("python", "http", "streaming", "serializing", "classic", "static")
"""The values of `hilbert.core.bundle.Mode`."""

FORKING: Final = frozenset({"streaming", "serializing", "classic"})
"""Modes with one process per request."""

_DEFAULT_SECONDS: Final = 30.0
_PRIVATE: Final = "HILBERT_"
_SHARED: Final = frozenset({"HILBERT_SECRETS_DIR"})


class ConfigError(Exception):
    """The environment cannot be honoured; the message says what to change."""


class Config(NamedTuple):
    """Everything that steers the watchdog. Times are in seconds; 0 means no limit where that is allowed."""

    mode: str
    command: tuple[str, ...]
    """`fprocess`, split as a shell would split it; no shell runs it."""
    process_text: str
    """`fprocess` as it was written."""
    handler: str
    """Mode `python`: the handler's file."""
    bundle: str
    """The working folder of the function; empty: the watchdog's own."""
    layers: tuple[str, ...]
    upstream: str
    """Mode `http`: `http://HOST:PORT` of the child, `unix:/PATH`, or `unix:NAME` in `TMPDIR`."""
    listen_fd: int
    """An inherited listening socket, or -1."""
    port: int
    read_timeout: float
    write_timeout: float
    exec_timeout: float
    drain_delay: float
    """How long the watchdog must be idle after SIGTERM before it ends (inherited socket), or sleeps first (TCP)."""
    max_inflight: int
    """Calls at once; more get 429. 0 is no limit."""
    ready_path: str
    content_type: str
    buffer_body: bool
    """Mode `http`: read the whole request before the child sees it."""
    buffer_limit: int
    """Most bytes of a body that is held whole."""
    prefix_logs: bool
    log_line: int
    """Most bytes of a log line; longer ones are cut."""
    log_call_id: bool
    static_path: str
    suppress_lock: bool
    combine_output: bool
    cgi_headers: bool
    marshal_request: bool
    write_debug: bool
    callers_from: str
    """The gateway, `http://HOST:PORT`, whose tokens callers need (`jwt_auth`); empty: anybody may call."""
    setuid: tuple[int, int] | None
    """User and group to become before any of the function's code runs."""
    name: str
    namespace: str
    notes: tuple[str, ...]
    """What was wrong in the environment and was replaced by a default; for the log."""


def read_config(environ: Mapping[str, str]) -> Config:
    """Read the whole configuration. Raises `ConfigError` for what cannot be honoured."""
    reader = _Reader(environ)
    mode = environ.get("HILBERT_MODE") or environ.get("mode") or "streaming"
    if mode not in MODES:
        raise ConfigError(f"mode {mode!r} is not supported; use one of {', '.join(MODES)}")
    process = environ.get("function_process") or environ.get("fprocess") or ""
    own = mode in ("python", "static")
    if not process and not own:
        raise ConfigError(f"mode {mode} needs a process; set fprocess")
    upstream = environ.get("http_upstream_url") or environ.get("upstream_url") or ""
    if mode == "http" and not upstream:
        raise ConfigError("mode http needs upstream_url, such as http://127.0.0.1:5000")
    handler = environ.get("HILBERT_HANDLER", "")
    if mode == "python" and not handler:
        raise ConfigError("mode python needs HILBERT_HANDLER, the absolute path of the handler's file")
    classic = mode == "classic"
    write_timeout = reader.seconds("write_timeout", _DEFAULT_SECONDS)
    if write_timeout <= 0:
        reader.notes.append(f"write_timeout must be more than 0; {_DEFAULT_SECONDS:g}s is used")
        write_timeout = _DEFAULT_SECONDS
    return Config(
        mode=mode,
        command=() if own else split_command(process),
        process_text=process,
        handler=handler,
        bundle=environ.get("HILBERT_BUNDLE", ""),
        layers=tuple(part for part in environ.get("HILBERT_LAYERS", "").split(":") if part),
        upstream=upstream,
        listen_fd=reader.whole("HILBERT_LISTEN_FD", -1),
        port=reader.whole("port", 8080),
        read_timeout=reader.seconds("read_timeout", _DEFAULT_SECONDS),
        write_timeout=write_timeout,
        exec_timeout=reader.seconds("exec_timeout", 0.0 if classic else _DEFAULT_SECONDS),
        drain_delay=reader.seconds("healthcheck_interval", write_timeout),
        max_inflight=reader.whole("max_inflight", 0),
        ready_path=environ.get("ready_path", ""),
        content_type=environ.get("content_type", ""),
        buffer_body=reader.flag("http_buffer_req_body", default=False) or reader.flag("buffer_http", default=False),
        buffer_limit=reader.whole("buffer_limit", 256 * 1024 * 1024),
        prefix_logs=reader.flag("prefix_logs", default=mode != "python"),
        log_line=reader.log_line(),
        log_call_id=reader.flag("log_callid", default=False) or reader.flag("log_call_id", default=False),
        static_path=environ.get("static_path") or "/home/app/public",
        suppress_lock=reader.flag("suppress_lock", default=False),
        combine_output=reader.flag("combine_output", default=True),
        cgi_headers=reader.flag("cgi_headers", default=True),
        marshal_request=reader.flag("marshal_request", default=False),
        write_debug=reader.flag("write_debug", default=False),
        callers_from=_callers_from(environ, reader),
        setuid=_identity(environ.get("HILBERT_SETUID", "")),
        name=environ.get("OPENFAAS_NAME", ""),
        namespace=environ.get("OPENFAAS_NAMESPACE", ""),
        notes=tuple(reader.notes),
    )


def function_environment(environ: Mapping[str, str], layers: tuple[str, ...]) -> dict[str, str]:
    """The environment that the function sees: no private names, and paths into the layers that hold something."""
    env = {k: v for k, v in environ.items() if not k.startswith(_PRIVATE) or k in _SHARED}
    for name, folder in (("PATH", "bin"), ("NODE_PATH", "node_modules"), ("PYTHONPATH", "")):
        found = [path for layer in layers if os.path.isdir(path := os.path.join(layer, folder).rstrip("/"))]
        if found:
            rest = env.get(name) or (os.defpath if name == "PATH" else "")
            env[name] = ":".join([*found, *filter(None, [rest])])
    return env


def split_command(text: str) -> tuple[str, ...]:
    """Split `fprocess` by the shell's quoting rules; nothing else of a shell applies. Raises `ConfigError`."""
    import shlex

    try:
        words = tuple(shlex.split(text))
    except ValueError as exc:
        raise ConfigError(f"fprocess {text!r} cannot be split into words: {exc}") from exc
    if not words:
        raise ConfigError("fprocess is blank; set it to a command")
    return words


def parse_seconds(text: str) -> float | None:
    """A whole number of seconds or Go's duration text (`1m30s`, `250ms`); None when it is neither, or negative."""
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return float(text)
    nanoseconds = parse_nanoseconds(text)
    return None if nanoseconds is None else nanoseconds / 1e9


class _Reader:
    """Typed look-ups that fall back to a default, and remember that they did."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.notes: list[str] = []

    def seconds(self, name: str, default: float) -> float:
        text = self._environ.get(name, "")
        if not text:
            return default
        value = parse_seconds(text)
        if value is None:
            self.notes.append(f"{name}={text!r} is not a duration like 30 or 1m30s; {default:g}s is used")
            return default
        return value

    def whole(self, name: str, default: int) -> int:
        text = self._environ.get(name, "")
        if not text:
            return default
        if text.isascii() and text.isdigit() and len(text) <= 15:
            return int(text)
        self.notes.append(f"{name}={text!r} is not a whole number; {default} is used")
        return default

    def flag(self, name: str, *, default: bool) -> bool:
        text = self._environ.get(name, "")
        return default if not text else text.lower() in ("true", "1")

    def log_line(self) -> int:
        """`log_buffer_size`; `-1`, no limit in OpenFaaS, is a mebibyte here, so that a line cannot fill the memory."""
        if self._environ.get("log_buffer_size") == "-1":
            return 1024 * 1024
        return min(self.whole("log_buffer_size", 65536) or 65536, 1024 * 1024)


def _callers_from(environ: Mapping[str, str], reader: _Reader) -> str:
    if not reader.flag("jwt_auth", default=False):
        return ""
    near = reader.flag("jwt_auth_local", default=False)
    given = environ.get("jwt_auth_gateway") or ("http://127.0.0.1:8000" if near else "http://gateway.openfaas:8080")
    scheme, _, authority = given.rstrip("/").partition("://")
    if scheme != "http" or not authority or "/" in authority:
        raise ConfigError(f"jwt_auth_gateway={given!r} must be http://HOST:PORT")
    return given.rstrip("/")


def _identity(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    user, _, group = text.partition(":")
    if not (user.isascii() and user.isdigit() and group.isascii() and group.isdigit()) or not int(user) * int(group):
        raise ConfigError(f"HILBERT_SETUID={text!r} must be UID:GID, two numbers above 0")
    return int(user), int(group)
