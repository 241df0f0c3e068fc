"""Reading the values of flags."""

from __future__ import annotations

from collections.abc import Iterable

from hilbert.cli.frame.failures import UsageError
from hilbert.core.errors import HilbertError
from hilbert.core.values import Duration


def pairs(given: Iterable[str], flag: str) -> dict[str, str]:
    """`KEY=VALUE` texts as a mapping; the last of equal keys wins. Raises `UsageError`."""
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{flag} {text}: must be KEY=VALUE")
        found[key] = value
    return found


def seconds(text: str, flag: str) -> float:
    """A Go duration, or a bare number of seconds. Raises `UsageError`."""
    try:
        return Duration.parse(text, bare_seconds=True).seconds
    except HilbertError as exc:
        raise UsageError(f"{flag}: {exc.message}") from exc
