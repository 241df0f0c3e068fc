"""One function, run in every mode that takes a body."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.watchdog import Watchdog, watchdog

FUNCTION = Path(__file__).parent / "function"
FORKING = ("streaming", "serializing", "classic")
MODES = ("python", "python-async", "http", *FORKING)

Start = Callable[..., contextlib.AbstractContextManager[Watchdog]]


@contextlib.contextmanager
def running(mode: str, *, ready: bool = True, **env: str) -> Iterator[Watchdog]:
    """The function in `mode`, in a fresh folder of its own."""
    python = mode.startswith("python")
    base = {"HILBERT_MODE": "python" if python else mode}
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(watchdog(start=False))
        for path in FUNCTION.iterdir():
            if path.is_file():
                shutil.copy(path, made.folder)
        if python:
            base["HILBERT_HANDLER"] = str(
                made.folder / ("async_handler.py" if mode == "python-async" else "handler.py")
            )
        elif mode == "http":
            port = free_port()
            base |= {
                "fprocess": f"{sys.executable} -u server.py",
                "upstream_url": f"http://127.0.0.1:{port}",
                "UPSTREAM_PORT": str(port),
            }
        else:
            base["fprocess"] = "sh fn.sh"
        made.env = dict(made.env) | base | env
        made.start()
        if ready:
            made.wait_ready()
        yield made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Each mode in turn."""
    name: str = request.param
    return name


@pytest.fixture(params=FORKING)
def forking(request: pytest.FixtureRequest) -> str:
    """Each mode with one process per request."""
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=MODES)
def shared(request: pytest.FixtureRequest) -> Iterator[Watchdog]:
    """A watchdog in each mode, for tests that leave no trace in it."""
    with running(request.param) as made:
        yield made
