"""Starting one sandbox: its descriptors, the launcher's order, and the process that waits before it becomes the function."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

from hilbert.core.errors import StartFailed
from hilbert.runtimes.oci.launch import EndTold, Launching, kill_sandbox
from hilbert.runtimes.oci.messages import Launch
from hilbert.runtimes.replica import proc
from hilbert.runtimes.replica.bwrap import child_of


class Started:
    """A sandbox that is made, and has not started the image's program."""

    def __init__(self, pid: int, ending: EndTold, release: int) -> None:
        self.pid = pid
        """Process 1 inside; the function will be its child."""
        self.ending = ending
        self._release = release

    def release(self) -> None:
        """Let it go on."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._release, b"+")


@contextlib.asynccontextmanager
async def start_sandbox(
    launching: Launching, order: Launch, *, arguments: bytes, output: int, call_filter: bytes
) -> AsyncIterator[Started]:
    """Start up to where it waits. It is killed unless this is left without an error. Raises `StartFailed` and `OSError`."""
    with contextlib.ExitStack() as ours:

        def keep(descriptor: int) -> int:
            ours.callback(os.close, descriptor)
            return descriptor

        info_read, info_write = os.pipe2(os.O_CLOEXEC)
        keep(info_read)
        block_read, release = map(keep, os.pipe2(os.O_CLOEXEC))
        # Both ends in one: if this process dies, it goes on waiting, and the next one finds and ends it.
        block = keep(os.open(f"/proc/self/fd/{block_read}", os.O_RDWR | os.O_CLOEXEC))
        given = [output, keep(_memory(arguments)), info_write, block]
        if call_filter:
            given.append(keep(_memory(call_filter)))
        try:
            outer, ending = await launching.launch(order, given)
        finally:
            os.close(info_write)  # So that its end is seen when bubblewrap gives up.
        try:
            yield Started(await child_of(info_read), ending, release)
        except (OSError, StartFailed) as exc:
            # What somebody has killed lets the next step fail, whatever that is; that it was killed is what there is to tell.
            if how := await ending.by_signal():
                proc.kill_marked(order.mark)  # What it has left; its number may be another's by now.
                raise StartFailed(f"a replica could not be started: its sandbox {how}", detail=str(exc)) from exc
            kill_sandbox(outer, order.mark)
            raise
        except BaseException:
            kill_sandbox(outer, order.mark)
            raise


def _memory(content: bytes) -> int:
    """A descriptor of a file in memory, to be read from its start."""
    descriptor = os.memfd_create("hilbert", os.MFD_CLOEXEC)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
