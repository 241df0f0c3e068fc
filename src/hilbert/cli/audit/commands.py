"""`audit list` and `audit verify`."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import msgspec

from hilbert.audit.verify import Report, verify
from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Shape, flag
from hilbert.cli.frame.parsing import seconds
from hilbert.cli.gateway.target import connect
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import harmless, note, out
from hilbert.core import settings as core_settings
from hilbert.core.environment import environment
from hilbert.wire.audit import AuditPage, Decision, Record, Stage

_FOLLOW_EVERY: Final = 1.0
"""Seconds."""
_NOTED: Final = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


def list_records(
    *,
    namespace: Annotated[str, flag("Only records about this namespace.", "--namespace", "-n")] = "",
    actor: Annotated[str, flag("Only this identity, name or token id.", "--actor")] = "",
    action: Annotated[str, flag("Only this action, such as Function:Delete or Secret:*.", "--action")] = "",
    refused: Annotated[bool, flag("Only what was refused.", "--refused")] = False,
    since: Annotated[str, flag("Only the last 24h (or any other duration).", "--since")] = "",
    lines: Annotated[int, flag("At most this many records, up to 1000.", "--lines")] = 100,
    follow: Annotated[bool, flag("Keep showing new ones until Ctrl-C.", "--follow", "-F")] = False,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    start = f"{(datetime.now(UTC) - timedelta(seconds=seconds(since, '--since'))).isoformat()}" if since else ""
    with connect(at) as client:

        def ask(*, after: int = 0) -> AuditPage:
            return client.audit(
                namespace=namespace, actor=actor, action=action, refused=refused, since=start, limit=lines, after=after
            )

        page = ask()
        if shape.format != "table" and not follow:
            write_document([msgspec.to_builtins(line) for line in page.lines], shape.format)
            return
        _show(page, as_json=shape.format == "json")
        if not page.complete and not follow:
            note("There are older ones; show more with --lines, or narrow the list with a filter.")
        while follow:
            if page.complete or not page.lines:
                time.sleep(_FOLLOW_EVERY)
            page = ask(after=max(page.next, 1))
            _show(page, as_json=shape.format == "json")


def verify_log(
    *,
    noted: Annotated[
        str,
        flag("NUMBER:HASH of the last line, as an earlier check printed it; the log must still have it.", "--noted"),
    ] = "",
    shape: Shape = PLAIN,
) -> int:
    earlier = None
    if noted:
        match = _NOTED.fullmatch(noted)
        if match is None:
            raise UsageError("--noted must be NUMBER:HASH, as 'hilbert audit verify' prints it")
        earlier = (int(match[1]), match[2])
    folder = Path(core_settings.load(environ=environment()).settings.paths.state_dir) / "audit"
    try:
        found = verify(folder, noted=earlier)
    except (OSError, ValueError) as exc:
        raise Failed(
            f"the audit log in {folder} cannot be read: {exc}",
            hint="run this on the gateway's machine, as the gateway's user",
        ) from exc
    if shape.format != "table":
        write_document(found, shape.format)
    else:
        _report(found)
    return 0 if found.is_good else 1


def _report(found: Report) -> None:
    for problem in found.problems:
        out(harmless(f"WRONG  {problem}"))
    if found.is_good:
        out(f"good: {found.records} records in lines {found.first} to {found.last}, {found.checkpoints} checkpoints")
    if found.unsigned:
        out(f"{found.unsigned} records are not covered by a signed checkpoint yet; one follows within a minute")
    if found.torn:
        out(f"{found.torn} bytes at the end are not a whole line: it is being written, or a crash cut it off")
    out(f"last line: {found.last}:{found.head}")


def _show(page: AuditPage, *, as_json: bool) -> None:
    for line in page.lines:
        if as_json:
            text = msgspec.json.encode(line).decode()
            out(harmless(text) if sys.stdout.isatty() else text)
        elif line.record.stage is not Stage.BEGUN:
            out(harmless(sentence(line.record)))
    sys.stdout.flush()


def sentence(record: Record) -> str:
    """A record on one line."""
    who = record.actor.name or record.actor.sub or "a stranger"
    if record.actor.name and record.actor.sub:
        who = f"{record.actor.name} ({record.actor.sub})"
    what = " ".join(record.actions) or f"{record.method} {record.path}".strip() or "requests"
    about = record.resource if not record.name else f"{record.resource or record.path} {record.name}"
    result = {
        Decision.ALLOWED: "",
        Decision.NONE: "",
        Decision.REFUSED: "REFUSED ",
        Decision.UNAUTHENTICATED: "REFUSED, not signed in ",
    }[record.decision]
    parts = [
        record.time[:19] + "Z",
        who,
        f"from {record.source_ip}" if record.source_ip else "",
        what,
        about,
        f"{result}{record.response_code or ''}".strip(),
        f"[{record.error}]" if record.error else "",
        f"fields: {', '.join(record.change)}" if record.change else "",
        f"({record.suppressed} more were only counted)" if record.suppressed else "",
        record.custom_message,
    ]
    return "  ".join(part for part in parts if part)
