"""One trial start of an image that has nothing in it: how it is found out whether a sandbox works here."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from hilbert.runtimes.oci.launch import Launching
from hilbert.runtimes.oci.messages import Launch
from hilbert.runtimes.oci.start import start_sandbox

FOLDERS: Final = ("proc", "dev", "sys", "tmp", "run", "var/openfaas/secrets")
"""Of such an image."""
PROGRAM: Final = "/this-program-is-not-there"
"""What a trial starts: every sandbox finds that out last."""


async def trial(launching: Launching, order: Launch, *, arguments: bytes, call_filter: bytes) -> str:
    """Why it did not come to that, or nothing. Raises `StartFailed` and `OSError`."""
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        async with start_sandbox(
            launching, order, arguments=arguments, output=write, call_filter=call_filter
        ) as started:
            started.release()
            await started.ending.wait()
        os.set_blocking(read, False)
        said = b""
        with contextlib.suppress(BlockingIOError):
            said = os.read(read, 4096)
        last = said.decode(errors="replace").strip().splitlines()
        if last and PROGRAM in last[-1]:
            return ""
        return last[-1][:300] if last else "a trial start ended without a word"
    finally:
        os.close(read)
        os.close(write)
