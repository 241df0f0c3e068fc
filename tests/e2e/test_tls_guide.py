"""The Caddyfiles of docs/guides/tls.md work: each is run as it stands there, with other ports, in front of a server."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.ports import held_port

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/tls.md"
CADDY = shutil.which("caddy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")

pytestmark = pytest.mark.skipif(CADDY is None, reason="caddy is not installed")


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"{self.path} {self.headers['X-Forwarded-Proto']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[int]:
    """The port of a server that stands for the gateway."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def caddyfiles() -> list[str]:
    return [
        block for block in re.findall(r"```text\n(.*?)```", GUIDE.read_text(), re.DOTALL) if "reverse_proxy" in block
    ]


def test_every_caddyfile_is_valid(tmp_path: Path) -> None:
    """Caddy accepts each as it stands in the guide."""
    assert len(caddyfiles()) == 3
    for number, text in enumerate(caddyfiles()):
        file = tmp_path / str(number)
        file.write_text(text)
        done = subprocess.run(
            [str(CADDY), "adapt", "--adapter", "caddyfile", "--config", file, "--validate"],
            env={"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr


def test_https_in_front_of_the_gateway(tmp_path: Path, gateway: int) -> None:
    """A call over TLS, with the certificate checked, reaches the server behind Caddy."""
    text = next(block for block in caddyfiles() if "tls internal" in block)
    assert "localhost:8443" in text
    config = tmp_path / "Caddyfile"
    log = tmp_path / "log"
    with held_port() as port, log.open("wb") as sink:
        config.write_text(
            text.replace("localhost:8443", f"localhost:{port}").replace("127.0.0.1:8080", f"127.0.0.1:{gateway}")
        )
        caddy = subprocess.Popen(
            [str(CADDY), "run", "--adapter", "caddyfile", "--config", config],
            env={"HOME": str(tmp_path)},
            stdout=sink,
            stderr=sink,
        )
        try:
            root = tmp_path / ".local/share/caddy/pki/authorities/local/root.crt"
            answer = ask(f"https://localhost:{port}/function/echo?q=1", root, caddy, log)
            assert answer == "/function/echo?q=1 https"
        finally:
            caddy.terminate()
            caddy.wait()


def ask(url: str, root: Path, caddy: subprocess.Popen[bytes], log: Path) -> str:
    """The answer's text, as soon as Caddy has made its certificates and listens."""
    deadline = time.monotonic() + 30
    while True:
        try:
            context = ssl.create_default_context(cafile=str(root))
            direct = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
            )
            with direct.open(url, timeout=10) as answer:
                return str(answer.read().decode())
        except OSError as error:
            if caddy.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{error}: {log.read_text()}")
            time.sleep(0.05)
