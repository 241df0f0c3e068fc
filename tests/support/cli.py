"""A scripted gateway and a way to run the command line against it, at a terminal or piped."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import sys
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, unquote, urlsplit

from support.zygote import Zygote

USER, PASSWORD = "admin", "pa:ss"


@dataclass
class Call:
    """One request that the gateway got."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What a test wants answered."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: list[bytes] | None = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that has gone, as tests of time-outs do, is no reason to write a traceback."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Gateway:
    """The REST API of OpenFaaS with state in memory, and functions as callables. Answers on a port of the kernel's."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.namespaces: dict[str, dict[str, Any]] = {"openfaas-fn": {"name": "openfaas-fn"}}
        self.functions: dict[tuple[str, str], dict[str, Any]] = {}
        self.secrets: dict[tuple[str, str], bytes] = {}
        self.logs: list[dict[str, str]] = []
        self.bodies: dict[str, Callable[[Call], Reply]] = {}
        """What functions answer, by `NAME` or `NAME.NAMESPACE`."""
        self.script: dict[tuple[str, str], list[Reply]] = {}
        """Answers that come first, by method and path."""
        self.polls_until_ready = 0
        self.failure: tuple[str, str] | None = None
        """Reason and message with which every function fails."""
        self.password: str | None = PASSWORD
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> Gateway:
        self._thread.start()
        return self

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def last(self, method: str, path: str) -> Call:
        """The newest request of this kind."""
        return [call for call in self.calls if (call.method, call.path) == (method, path)][-1]

    def add(self, name: str, namespace: str = "openfaas-fn", **fields: Any) -> None:
        """Put a function there, ready."""
        self.functions[namespace, name] = {
            "name": name,
            "namespace": namespace,
            "image": "functions/alpine:latest",
            "labels": {"faas_function": name},
            "annotations": {},
            "replicas": 1,
            "availableReplicas": 1,
            "createdAt": "2024-05-06T07:08:09Z",
            "hilbert": {"phase": "ready", "reason": "", "message": "", "generation": 1, "readyGeneration": 1},
        } | fields

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None: ...

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                call = Call(
                    self.command,
                    unquote(parts.path),
                    {key: values[-1] for key, values in parse_qs(parts.query).items()},
                    {key.lower(): value for key, value in self.headers.items()},
                    self._body(),
                )
                gateway.calls.append(call)
                reply = gateway.answer(call)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.chunks is None:
                    self.send_header("Content-Length", str(len(reply.body)))
                    self.end_headers()
                    self.wfile.write(reply.body)
                else:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for chunk in reply.chunks:
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                        self.wfile.flush()
                    self.wfile.write(b"0\r\n\r\n")

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", "0")))
                whole = b""
                while size := int(self.rfile.readline() or b"0", 16):
                    whole += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return whole

        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
            setattr(Handler, f"do_{method}", Handler._serve)
        return Handler

    def answer(self, call: Call) -> Reply:
        scripted = self.script.get((call.method, call.path))
        if scripted:
            return scripted.pop(0)
        if call.path == "/healthz":
            return Reply(body=b"OK")
        if call.path.startswith(("/function/", "/async-function/")):
            return self._call_function(call)
        if self.password is not None and not self._may(call):
            return Reply(401, b"invalid credentials", {"WWW-Authenticate": 'Basic realm="Restricted"'})
        kind = call.path.split("/")[2] if call.path.count("/") >= 2 else ""
        route = {
            "info": self._info,
            "functions": self._functions,
            "function": self._function,
            "scale-function": self._scale,
            "restart-function": self._restart,
            "namespaces": self._namespaces,
            "namespace": self._namespace,
            "secrets": self._secrets,
            "logs": self._logs,
        }.get(kind)
        return route(call) if route else _text(404, "404 page not found")

    def _may(self, call: Call) -> bool:
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        return scheme == "Basic" and b64decode(token).decode() == f"{USER}:{self.password}"

    def _call_function(self, call: Call) -> Reply:
        _, kind, name, *_rest = call.path.split("/")
        plain, dot, namespace = name.rpartition(".")
        key = (namespace, plain) if dot else ("openfaas-fn", name)
        body = self.bodies.get(name) or self.bodies.get(key[1])
        if key not in self.functions or body is None:
            return _text(404, f"error finding function {key[1]}.{key[0]}")
        if kind == "async-function":
            return Reply(202, headers={"X-Call-Id": "call-1"})
        return body(call)

    def _info(self, _call: Call) -> Reply:
        version = {"sha": "abc", "release": "9.9.9"}
        return _json(
            {
                "arch": "x86_64",
                "provider": {"provider": "scripted", "orchestration": "none", "version": version},
                "version": version,
                "hilbert": {"sandbox": "bubblewrap", "workers": "2"},
            }
        )

    def _functions(self, call: Call) -> Reply:
        if call.method == "GET":
            namespace = call.query.get("namespace") or "openfaas-fn"
            if namespace not in self.namespaces:
                return _text(400, "namespace not valid")
            return _json([entry for (where, _), entry in sorted(self.functions.items()) if where == namespace])
        document = call.json
        namespace = document.get("namespace") or "openfaas-fn"
        if namespace not in self.namespaces:
            return _text(400, "namespace not valid")
        key = (namespace, document.get("service") or document.get("functionName"))
        there = self.functions.get(key)
        if call.method == "DELETE":
            return Reply(202) if self.functions.pop(key, None) else _text(404, f"function {key[1]}.{key[0]} not found")
        if call.method == "PUT" and there is None:
            return _text(404, f"function: {key[1]}.{key[0]} not found")
        if call.method == "POST" and there is not None:
            return _text(500, f'unable create Deployment: deployments.apps "{key[1]}" already exists')
        missing = [name for name in document.get("secrets", ()) if (namespace, name) not in self.secrets]
        if missing:
            return _text(400, f'unable to fetch secrets: secrets "{missing[0]}" not found')
        generation = there["hilbert"]["generation"] + 1 if there else 1
        fields = {name: value for name, value in document.items() if name != "service"}
        self.add(key[1], namespace, **{name: value for name, value in fields.items() if name != "namespace"})
        entry = self.functions[key]
        entry["hilbert"]["generation"] = generation
        entry["polls"] = self.polls_until_ready
        return Reply(202)

    def _function(self, call: Call) -> Reply:
        name = call.path.rpartition("/")[2]
        entry = self.functions.get((call.query.get("namespace") or "openfaas-fn", name))
        if entry is None:
            return Reply(404)
        detail = entry["hilbert"]
        polls = entry.pop("polls", 0)
        if self.failure is not None:
            entry["availableReplicas"] = 0
            detail |= {"phase": "failed", "reason": self.failure[0], "message": self.failure[1]}
        elif polls > 0:
            entry["polls"] = polls - 1
            entry["availableReplicas"] = 0
            detail |= {"phase": "starting"}
        else:
            entry["availableReplicas"] = entry["replicas"]
            ready = detail["generation"]
            detail |= {"phase": "ready" if entry["replicas"] else "idle", "readyGeneration": ready}
        return _json(entry)

    def _scale(self, call: Call) -> Reply:
        entry = self.functions.get((call.json.get("namespace") or "openfaas-fn", call.path.rpartition("/")[2]))
        if entry is None:
            return _text(404, "not found")
        entry["replicas"] = call.json["replicas"]
        return Reply(202)

    def _restart(self, call: Call) -> Reply:
        entry = self.functions.get((call.query.get("namespace") or "openfaas-fn", call.path.rpartition("/")[2]))
        if entry is None:
            return _text(404, "not found")
        if "hilbert" in entry:
            entry["hilbert"]["generation"] += 1
        return Reply(202)

    def _namespaces(self, _call: Call) -> Reply:
        return _json(list(self.namespaces))

    def _namespace(self, call: Call) -> Reply:
        name = call.path.rpartition("/")[2]
        if call.method == "POST":
            document = call.json
            if document["name"] in self.namespaces:
                return _text(409, f"namespace {document['name']} already exists")
            self.namespaces[document["name"]] = document
            return Reply(201)
        if name not in self.namespaces:
            return _text(404, f"namespace {name} not found")
        if call.method == "GET":
            return _json(self.namespaces[name])
        if call.method == "PUT":
            self.namespaces[name] = call.json
        else:
            del self.namespaces[name]
        return Reply(202)

    def _secrets(self, call: Call) -> Reply:
        if call.method == "GET":
            namespace = call.query.get("namespace") or "openfaas-fn"
            found = [{"name": name, "namespace": where} for where, name in sorted(self.secrets) if where == namespace]
            return _json(found)
        document = call.json
        key = (document.get("namespace") or "openfaas-fn", document["name"])
        if call.method == "POST" and key in self.secrets:
            return Reply(409)
        if call.method in ("PUT", "DELETE") and key not in self.secrets:
            return Reply(404)
        if call.method == "DELETE":
            del self.secrets[key]
        else:
            self.secrets[key] = b64decode(document["rawValue"])
        return Reply(202)

    def _logs(self, call: Call) -> Reply:
        lines = [line for line in self.logs if line["name"] == call.query["name"]]
        if not lines:
            return _text(404, "not found")
        chunks = [json.dumps(line).encode() + b"\n" for line in lines]
        return Reply(headers={"Content-Type": "application/x-ndjson"}, chunks=chunks)


def _text(status: int, text: str) -> Reply:
    return Reply(status, f"{text}\n".encode(), {"Content-Type": "text/plain; charset=utf-8"})


def _json(document: object) -> Reply:
    return Reply(200, json.dumps(document).encode(), {"Content-Type": "application/json"})


@dataclass
class Result:
    """What a command gave."""

    status: int
    out: str
    err: str


class CommandLine:
    """The command line in a folder of its own, with no trace of the caller's environment."""

    def __init__(self, url: str, folder: Path, zygote: Zygote) -> None:
        self.folder = folder
        self.zygote = zygote
        self.environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "HOME": str(folder),
            "OPENFAAS_URL": url,
            "HILBERT_STATE_DIR": str(folder / "state"),
            "HILBERT_RUN_DIR": str(folder / "run"),
            "LANG": "C.UTF-8",
            "COLUMNS": "100",
            "TERM": "xterm",
        }
        (folder / ".openfaas").mkdir(mode=0o700, exist_ok=True)
        config = folder / ".openfaas" / "config.yml"
        config.write_text(f"auths:\n- gateway: {url}\n  auth: basic\n  token: YWRtaW46cGE6c3M=\n")
        config.chmod(0o600)

    def run(self, *words: str, stdin: bytes = b"", timeout: float = 30) -> Result:
        """Run it piped."""
        with file_with(stdin) as given, file_with() as out, file_with() as err:
            self.zygote.start(
                words, environ=self.environ, cwd=self.folder, streams=(given.fileno(), out.fileno(), err.fileno())
            )
            status = self.zygote.wait(timeout)
            return Result(status, _read(out), _read(err))

    def run_at_terminal(self, *words: str, stdin: bytes = b"", timeout: float = 30) -> Result:
        """Run it with a terminal as its output and errors; they come as one text, in `out`."""
        master, slave = pty.openpty()
        with file_with(stdin) as given:
            self.zygote.start(words, environ=self.environ, cwd=self.folder, streams=(given.fileno(), slave, slave))
            os.close(slave)
            written = b""
            end = time.monotonic() + timeout
            while time.monotonic() < end:
                ready, _, _ = select.select([master], [], [], 0.05)
                if not ready:
                    continue
                try:
                    written += os.read(master, 65536)
                except OSError:  # What Linux answers once the last one has closed its side.
                    break
            os.close(master)
            return Result(self.zygote.wait(timeout), written.decode().replace("\r\n", "\n"), "")


def file_with(data: bytes = b"") -> IO[bytes]:
    """A nameless file with `data`, to be read from its beginning."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(data)
    file.seek(0)
    return file


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@contextlib.contextmanager
def scripted(zygote: Zygote) -> Iterator[tuple[Gateway, CommandLine]]:
    """A gateway and a command line that knows it."""
    with tempfile.TemporaryDirectory(prefix="hb-") as folder:
        gateway = Gateway().start()
        try:
            yield gateway, CommandLine(gateway.url, Path(folder), zygote)
        finally:
            gateway.close()
