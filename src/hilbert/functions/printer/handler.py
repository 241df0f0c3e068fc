"""Writes each request to the function's log."""

import sys

LONGEST = 65536


def handle(event, context):  # noqa: ARG001 - the platform passes both
    lines = [f"{event.method} {event.path}"]
    lines += [f"{name}={value}" for name, value in event.query.items()]
    lines += [f"{name}: {value}" for name, value in event.headers]
    text = event.body[:LONGEST].decode("utf-8", "replace")
    if text:
        lines += ["", text.rstrip("\n")]
    if len(event.body) > LONGEST:
        lines.append(f"... and {len(event.body) - LONGEST} bytes more")
    sys.stdout.write("\n".join(lines) + "\n")
    return "", 202
