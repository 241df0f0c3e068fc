"""What the last lines of a function that ended say of the cause. Pure.

Lines are a stranger's: what they say is shown to the function's owner, never believed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

LINES: Final = 40
"""Of the end of a log, which is enough for a stack trace of Node's or Go's."""

_OWN: Final = "Cannot start: "
"""With this the watchdog says why it ends."""

_PREFIX: Final = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (?:std(?:err|out):(?: |$))?")
"""The watchdog puts it before lines of its own, and of the process that it runs."""

_AROUND: Final = re.compile(
    r"\s|\W*$|at |- /|Node\.js v\d|Require stack:|goroutine \d|\S+\(.*\)$|exit status \d"
    r"|The function's process has ended|Killed$|Segmentation fault|Aborted$|\.\.\. \d+ (?:more|lines)"
)
"""Lines around the one that names an error: frames of Node, Go and Java, and what others say of the end."""

_EXCEPTION: Final = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Z]\w*(?:Error|Exception|Exit|Interrupt))(?::|$)")


def telling_line(lines: Sequence[str]) -> str:
    """The line that says most of why the process ended; empty if there is none. `lines` are in order of time."""
    plain = [_PREFIX.sub("", line, count=1).rstrip() for line in lines[-LINES:]]
    own = next((line for line in reversed(plain) if line.startswith(_OWN)), "")
    return own or next((line for line in reversed(plain) if line and not _AROUND.match(line)), "")


def exception_in(line: str) -> str:
    """The name of the exception that a telling line names, without what was said with it; empty if there is none.

    A name of a class is all of a function's words that those may read who may only call it.
    """
    found = next((match for part in line.split(": ") if (match := _EXCEPTION.match(part))), None)
    return found[1][:64] if found is not None else ""
