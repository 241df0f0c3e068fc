"""Structured logs to stderr: readable at a terminal, JSON otherwise; secrets redacted by the name of their field."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal

import structlog

_SENSITIVE: Final = ("token", "auth", "key", "secret", "password", "cookie", "credential")
_CHATTY: Final = ("httpx2",)
"""Loggers of libraries that write a line for each request at `info`; ours say what matters of them."""
_HARMLESS: Final = frozenset({"key"})
"""Field names that hold a sensitive word and are none: the key of a work queue."""


def configure(*, level: str = "info", form: Literal["auto", "console", "json"] = "auto") -> None:
    """Set up logging for this process: structlog, and the standard library's loggers through it."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    final: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if console:
        # Not the renderer's own choice of traceback, which shows local variables: passwords and secrets among them.
        final.append(
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        )
    else:
        final += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=final, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the value of every field whose name sounds like a secret."""
    for name in event:
        lowered = name.lower()
        if lowered not in _HARMLESS and any(word in lowered for word in _SENSITIVE):
            event[name] = "[redacted]"
    return event
