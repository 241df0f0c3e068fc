"""A process that has loaded the command line once and forks for every command, so that a test need not load it anew.

Each command still runs in a process of its own, with its own folder, environment and streams. The start of the real
command is tested elsewhere.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_READY = b"+"


class Zygote:
    """Start it once, `run` many commands, `close` it."""

    def __init__(self) -> None:
        self._here, there = socket.socketpair()
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(there.fileno())],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
            )
        assert self._here.recv(1) == _READY

    def start(self, words: Sequence[str], *, environ: dict[str, str], cwd: Path, streams: tuple[int, int, int]) -> None:
        """Begin `hilbert WORDS...` with these descriptors as its standard streams."""
        document = json.dumps({"words": list(words), "environ": environ, "cwd": str(cwd)}).encode()
        socket.send_fds(self._here, [len(document).to_bytes(4, "big")], streams)
        self._here.sendall(document)

    def wait(self, timeout: float) -> int:
        """The exit status of what was begun."""
        self._here.settimeout(timeout)
        return int.from_bytes(self._here.recv(4), "big", signed=True)

    def close(self) -> None:
        self._here.close()
        self._process.wait(10)


def _serve(sock: socket.socket) -> None:

    from hilbert.cli.frame.commands import all_commands

    for command in all_commands():
        __import__(f"hilbert.cli.{command.target.partition(':')[0]}")
    sock.sendall(_READY)
    while True:
        size, streams, _, _ = socket.recv_fds(sock, 4, 3)
        if len(size) < 4:
            return
        document = b""
        while len(document) < int.from_bytes(size, "big"):
            document += sock.recv(65536)
        pid = os.fork()
        if pid == 0:
            _become(json.loads(document), streams)
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(pid, 0)
        sock.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))


def _become(order: dict[str, object], streams: Sequence[int]) -> None:
    """Be the command; does not return."""
    from hilbert.cli.frame.run import run

    status = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode, encoding="utf-8") for n, mode in enumerate("rww"))
        os.environ.clear()
        os.environ.update(order["environ"])  # type: ignore[arg-type]  # as it was sent
        os.chdir(str(order["cwd"]))
        status = run(order["words"])  # type: ignore[arg-type]  # as it was sent
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
