"""Waits before it answers: as long as the header `X-Sleep-Duration` says, else the environment's `sleep_duration`."""

import asyncio
import os
import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
PART = re.compile(r"([0-9]+(?:\.[0-9]*)?)(ms|s|m|h)")


async def handle(event, context):  # noqa: ARG001 - the platform passes both
    asked = event.headers.get("X-Sleep-Duration") or event.headers.get("X-Sleep")
    text = asked or os.environ.get("sleep_duration") or "2s"  # noqa: SIM112 - its name in OpenFaaS
    seconds = parse(text)
    if seconds is None:
        return _plain(f"{text!r} is not a duration like 500ms, 2s or 1m30s.\n", 400)
    await asyncio.sleep(seconds)
    return _plain(f"Slept for {text}\n")


def parse(text):
    """Seconds; None when `text` is no duration. A number alone is seconds."""
    if text.isascii() and text.isdigit():
        return float(text)
    parts = PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def _plain(text, status=200):
    return {"statusCode": status, "body": text, "headers": {"Content-Type": "text/plain; charset=utf-8"}}
