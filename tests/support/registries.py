"""Registries on loopback: Debian's own, open, with passwords or with tokens; and one that does whatever a test says."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support.authority import make_authority
from support.images import Image
from support.ports import held_port

USER, PASSWORD = "ann", "secret"
_HASHED = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"
"""bcrypt of the password, as `htpasswd -B` makes it."""
SERVICE, ISSUER = "registry.test", "token.test"

have_registry = shutil.which("docker-registry") is not None


def basic(user: str = USER, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Registry:
    """A registry that runs."""

    def __init__(
        self, host: str, *, ca_file: Path | None = None, pull: Callable[[str], Mapping[str, str]] | None = None
    ) -> None:
        self.host = host
        self.ca_file = ca_file
        self._headers = pull or (lambda _: {})

    @property
    def url(self) -> str:
        return f"http{'s' if self.ca_file else ''}://{self.host}"

    def push(self, image: Image, repository: str, tag: str) -> str:
        """The image's full name."""
        with _trusting(self.ca_file):
            image.push(self.url, repository, tag, headers=self._headers(repository))
        return f"{self.host}/{repository}:{tag}"

    def headers(self, repository: str) -> Mapping[str, str]:
        return self._headers(repository)


@contextlib.contextmanager
def registry(
    *, passwords: bool = False, tls: bool = False, realm: str = "", bundle: Path | None = None
) -> Iterator[Registry]:
    """Debian's registry. `realm`: the address of a `TokenServer` whose certificate is in `bundle`."""
    folder = Path(tempfile.mkdtemp(prefix="hb-registry-"))
    with held_port() as port:
        host = f"127.0.0.1:{port}"
        lines = [
            "version: 0.1",
            "log: {level: error}",
            f"storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}",
        ]
        if passwords:
            (folder / "htpasswd").write_text(f"{USER}:{_HASHED}\n")
            lines.append(f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}")
        if realm:
            lines.append(
                f"auth: {{token: {{realm: '{realm}', service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {bundle}}}}}"
            )
        if tls:
            make_authority(folder)
            lines.append(f"http: {{addr: '{host}', tls: {{certificate: {folder}/cert, key: {folder}/key}}}}")
        else:
            lines.append(f"http: {{addr: '{host}'}}")
        (folder / "config.yml").write_text("\n".join(lines) + "\n")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
        made = Registry(host, ca_file=folder / "cert" if tls else None, pull=(lambda _: basic()) if passwords else None)
        try:
            _wait(made, folder / "log")
            yield made
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def _wait(made: Registry, log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            with _trusting(made.ca_file), urllib.request.urlopen(f"{made.url}/v2/", timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def _trusting(ca_file: Path | None) -> Iterator[None]:
    """Let `urllib` trust a certificate."""
    if ca_file is None:
        yield
        return
    context = ssl.create_default_context(cafile=ca_file)
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    urllib.request.install_opener(opener)
    try:
        yield
    finally:
        urllib.request.install_opener(urllib.request.build_opener())


Answer = tuple[int, Mapping[str, str], bytes]


class Stub:
    """An HTTP server whose answers a test gives: `answer(method, path, headers) -> (status, headers, body)`."""

    def __init__(self, answer: Callable[[str, str, Mapping[str, str]], Answer]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                stub.asked.append((self.command, self.path, {**headers, ":body": body}))
                status, fields, data = stub.answer(self.command, self.path, headers)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **fields}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    with contextlib.suppress(OSError):
                        self.wfile.write(data)
                if "Content-Length" in fields:
                    self.close_connection = True  # What was said may not be what was sent.

            do_GET = do_HEAD = do_POST = _serve  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class TokenServer(Stub):
    """Gives tokens that Debian's registry believes. `ann` may push and pull everything, others pull what begins with `public/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={ISSUER}",
             "-keyout", "key.pem", "-out", "cert.pem"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
        self.bundle = folder / "cert.pem"
        pem = self.bundle.read_text().splitlines()
        self._x5c = "".join(line for line in pem if not line.startswith("-----"))
        super().__init__(self._give)

    @property
    def realm(self) -> str:
        return f"http://{self.host}/token"

    def token(self, repository: str, *actions: str) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": SERVICE, "sub": "x", "exp": now + 300, "nbf": now - 60, "iat": now, "jti": os.urandom(8).hex(),
            "access": [{"type": "repository", "name": repository, "actions": list(actions)}] if actions else [],
        }  # fmt: skip
        head = {"typ": "JWT", "alg": "RS256", "x5c": [self._x5c]}
        text = f"{_b64(json.dumps(head).encode())}.{_b64(json.dumps(claims).encode())}"
        command = ["openssl", "dgst", "-sha256", "-sign", str(self._folder / "key.pem")]
        signature = subprocess.run(command, input=text.encode(), check=True, capture_output=True).stdout
        return f"{text}.{_b64(signature)}"

    def _give(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        _, _, given = self.asked[-1]
        query = urllib.parse.parse_qs(given[":body"] if method == "POST" else urllib.parse.urlsplit(path).query)
        _, repository, actions = query["scope"][0].split(":")
        known = headers.get("authorization") == basic()["Authorization"] or query.get("refresh_token") == ["refreshing"]
        if "authorization" in headers and not known:
            return 401, {}, b"{}"
        allowed = actions.split(",") if known else ["pull"] if repository.startswith("public/") else []
        name = "access_token" if method == "POST" else "token"
        return 200, {}, json.dumps({name: self.token(repository, *allowed), "expires_in": 300}).encode()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Served(Stub):
    """A registry of one image, `HOST/repo:1`, without a password; a test may answer some requests itself."""

    def __init__(
        self, image: Image, *, change: Callable[[str, str, Mapping[str, str]], Answer | None] | None = None
    ) -> None:
        self.image = image
        self._change = change or (lambda *_: None)
        super().__init__(self._serve)

    @property
    def name(self) -> str:
        return f"{self.host}/repo:1"

    def _serve(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        changed = self._change(method, path, headers)
        if changed is not None:
            return changed
        kind, _, name = path.removeprefix("/v2/repo/").partition("/")
        if kind == "manifests" and name in ("1", self.image.digest):
            fields = {"Content-Type": self.image.media_type, "Docker-Content-Digest": self.image.digest}
            return 200, fields, self.image.document
        blob = self.image.blobs.get(name)
        if kind != "blobs" or blob is None:
            return 404, {}, b"{}"
        begin = int(headers["range"].removeprefix("bytes=").rstrip("-")) if "range" in headers else 0
        return (206 if begin else 200), {}, blob[begin:]
