"""bubblewrap as every runtime uses it: where it is, what it can do, and what it says of the process that it made."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from typing import Final

import msgspec

from hilbert.core.errors import InvalidSettings, StartFailed

_ANSWER_MOST: Final = 10.0
"""Seconds for bubblewrap to say which process it made."""


async def find() -> tuple[str, str]:
    """Its path, and what `bwrap --help` prints: older versions lack some options. Raises `InvalidSettings`."""
    executable = shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin")
    if executable is None:
        raise InvalidSettings("bwrap is not installed (package bubblewrap)")
    done = await asyncio.to_thread(
        subprocess.run, [executable, "--help"], capture_output=True, text=True, timeout=10, check=False
    )
    return executable, done.stdout + done.stderr


async def child_of(info: int) -> int:
    """The process that it made, from its answer at `--info-fd`; it closes its end when it gives up instead.

    Raises `StartFailed`.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    answer = bytearray()

    def read() -> None:
        data = os.read(info, 4096)
        answer.extend(data)
        if (not data or b"}" in data) and not done.done():
            done.set_result(None)

    loop.add_reader(info, read)
    try:
        async with asyncio.timeout(_ANSWER_MOST):
            await done
        return int(msgspec.json.decode(answer)["child-pid"])
    except (TimeoutError, msgspec.DecodeError, KeyError, ValueError) as exc:
        raise StartFailed("the sandbox could not be made", detail=answer.decode(errors="replace")) from exc
    finally:
        loop.remove_reader(info)
