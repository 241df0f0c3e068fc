"""What users run Python with today: each server alone, with the same answer as the functions that it is compared with."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import psutil

from bench import peers

PACKAGES = ("flask", "waitress", "gunicorn", "uvicorn", "granian", "uvloop", "httptools")

FLASK_APP = """
from flask import Flask, request

app = Flask("bench")


@app.post("/")
def answer():
    request.get_data()
    return "hello world\\n", 200, {"Content-Type": "text/plain; charset=utf-8"}
"""

ASGI_APP = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain; charset=utf-8")]})
    await send({"type": "http.response.body", "body": b"hello world\\n"})
"""

ALONE = {
    "Flask under waitress, 4 threads": "waitress-serve --threads 4 --listen 127.0.0.1:{port} flask_app:app",
    "Flask under gunicorn, 1 worker with 4 threads": "gunicorn --threads 4 --keep-alive 60 --bind 127.0.0.1:{port} flask_app:app",
    "uvicorn": "uvicorn --no-access-log --log-level warning --loop uvloop --http httptools --port {port} asgi_app:app",
    "granian": "granian --interface asgi --no-ws --workers 1 --log-level warning --host 127.0.0.1 --port {port} asgi_app:app",
}
"""By title: the command; each serves with one process that works."""


@dataclass
class Server:
    """One that runs."""

    title: str
    url: str
    process: subprocess.Popen[bytes]

    @property
    def pids(self) -> list[int]:
        root = psutil.Process(self.process.pid)
        return [root.pid, *(child.pid for child in root.children(recursive=True))]


def environment() -> Path:
    """A virtual environment with all of them from PyPI, made at its first use and kept in the folder for temporary files."""
    place = Path(tempfile.gettempdir()) / f"hilbert-bench-servers-{os.geteuid()}"
    ready = place / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([str(place / "bin" / "pip"), "install", "--quiet", *PACKAGES], check=True)
        ready.touch()
    return place


def versions(place: Path) -> str:
    """What is in it, for the report."""
    [site] = place.glob("lib/python*/site-packages")
    found = {one.metadata["Name"].lower(): one.version for one in distributions(path=[str(site)])}
    return ", ".join(f"{name} {found[name]}" for name in PACKAGES)


@contextlib.contextmanager
def alone(title: str, place: Path, where: Path, *, core: int) -> Iterator[Server]:
    """Run one of `ALONE`, pinned to a core."""
    (where / "flask_app.py").write_text(FLASK_APP)
    (where / "asgi_app.py").write_text(ASGI_APP)
    port = peers.free_port()
    command, *words = ALONE[title].format(port=port).split()
    with server([str(place / "bin" / command), *words], where, port, core=core, title=title) as found:
        yield found


@contextlib.contextmanager
def server(words: Sequence[str], where: Path, port: int, *, core: int, title: str) -> Iterator[Server]:
    """Run a server that listens on a port of this machine, pinned to a core."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *words],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(where)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        peers.wait_for(port, process)
        yield Server(title, f"http://127.0.0.1:{port}/", process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
