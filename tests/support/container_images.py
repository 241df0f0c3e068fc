"""Container images for tests, written as OCI layouts (https://github.com/opencontainers/image-spec) with no builder."""

from __future__ import annotations

import asyncio
import atexit
import functools
import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hilbert.images.store import OciStore

PYTHON = f"{Path(sys.base_prefix).resolve()}/bin/python3"
"""The path of the interpreter in `python_layer`."""

_PACKAGES = (
    "asyncio", "collections", "concurrent", "ctypes", "email", "encodings", "html", "http", "importlib", "json", "logging",
    "multiprocessing", "re", "urllib",
)  # fmt: skip

_LEFT_OUT = (
    "_bz2", "_crypt", "_curses", "_dbm", "_gdbm", "_hashlib", "_lzma", "_sqlite3", "_ssl", "_test", "_tkinter", "_uuid",
    "_xx", "nis", "readline", "xx", "zlib",
)  # fmt: skip
"""Modules that need more than the C library."""

SERVER = r"""
import contextlib, http.server, io, os, signal, socketserver, sys, threading

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(b"OK" if self.path.startswith("/_/") else os.environ.get("answer", "hello").encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if MODE == "run":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                try:
                    exec(body.decode(), {})
                except BaseException as exc:
                    print(type(exc).__name__, exc)
            body = out.getvalue().encode()
        else:
            print(f"called with {len(body)} bytes", flush=True)
        self.answer(body)

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 512

def drain(*_):
    threading.Thread(target=server.shutdown).start()

MODE = sys.argv[1]
if MODE == "broken":
    raise RuntimeError("this function is broken")
server = Server(("", int(os.environ.get("port", "8080"))), Handler)
signal.signal(signal.SIGTERM, drain)
server.serve_forever(0.05)
server.server_close()
"""
"""`echo` answers with what it is sent; `run` runs that, and answers with what it printed; `broken` fails at once."""


def write_image(
    file: Path, layers: Sequence[bytes], *, entrypoint: Sequence[str] = (), config: Mapping[str, Any] | None = None
) -> Path:
    """An OCI layout in a tar file. `layers` are tar files; `config` has more of the image's configuration."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    document = {
        "architecture": machine,
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint), **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
    }
    blobs: dict[str, bytes] = {}

    def keep(data: bytes, kind: str) -> dict[str, Any]:
        blobs[_digest(data)] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": _digest(data), "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": keep(json.dumps(document).encode(), "config.v1+json"),
        "layers": [keep(layer, "layer.v1.tar") for layer in layers],
    }
    index = {"schemaVersion": 2, "manifests": [keep(json.dumps(manifest).encode(), "manifest.v1+json")]}
    with tarfile.open(file, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(archive, "index.json", json.dumps(index).encode())
        for digest, data in blobs.items():
            _add(archive, f"blobs/{digest.replace(':', '/')}", data)
    return file


def layer(
    files: Mapping[str, bytes | str], *, mode: int = 0o755, owner: int = 0, links: Mapping[str, str] | None = None
) -> bytes:
    """A layer with these files and symbolic links, by their paths."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for path, content in files.items():
            _add(archive, path.lstrip("/"), content.encode() if isinstance(content, str) else content, mode, owner)
        for path, target in (links or {}).items():
            info = tarfile.TarInfo(path.lstrip("/"))
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return data.getvalue()


@functools.cache
def python_layer() -> bytes:
    """This Python with most of its standard library, and the shared libraries that it needs."""
    base = Path(sys.base_prefix).resolve()
    library = Path(sysconfig.get_path("stdlib", vars={"base": str(base), "installed_base": str(base)}))
    executable = Path(sys.executable).resolve()
    modules = [path for path in library.glob("lib-dynload/*.so") if not path.name.startswith(_LEFT_OUT)]
    needy = [str(path) for path in modules if path.name.startswith(("_ctypes", "binascii"))]
    said = subprocess.run(["ldd", str(executable), *needy], capture_output=True, text=True, check=False)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", dereference=True) as archive:
        archive.add(executable, PYTHON.lstrip("/"), filter=_as_root)
        for path in sorted(set(re.findall(r"(/\S+\.so\S*) ", said.stdout))):
            archive.add(path, path.lstrip("/"), filter=_as_root)
        for path in (*modules, *library.glob("*.py")):
            archive.add(path, str(path).lstrip("/"), filter=_as_root)
        for name in _PACKAGES:
            archive.add(library / name, str(library / name).lstrip("/"), filter=_as_root)
    return data.getvalue()


@functools.cache
def busybox_layer() -> bytes:
    """A static busybox; empty where there is none."""
    path = shutil.which("busybox")
    return b"" if path is None else layer({"bin/busybox": Path(path).read_bytes()})


def _as_root(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if "__pycache__" in info.name or "/test" in info.name:
        return None
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def _add(archive: tarfile.TarFile, path: str, content: bytes, mode: int = 0o644, owner: int = 0) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.uid, info.gid = len(content), mode, owner, owner
    archive.addfile(info, io.BytesIO(content))


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def python_image(file: Path, program: str = SERVER, *arguments: str, config: Mapping[str, Any] | None = None) -> Path:
    """An image that runs a Python program."""
    entry = [PYTHON, "-I", "-S", "-u", "/server.py", *arguments]
    # By these names the functions of tests find things in bundles.
    environment = ["HILBERT_SECRETS_DIR=/var/openfaas/secrets", "TMPDIR=/tmp"]
    system = layer({"server.py": program, "etc/os-release": "ID=tests\n"}, mode=0o644)
    return write_image(file, [python_layer(), system], entrypoint=entry, config={"Env": environment, **(config or {})})


def missing_for_images() -> str:
    """What this machine lacks for running images, found without any of our code; empty when they have to run."""
    for program, package in (("bwrap", "bubblewrap"), ("nft", "nftables")):
        if shutil.which(program, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin") is None:
            return f"{program} is not installed (package {package})"
    bare = ["bwrap", "--unshare-user", "--unshare-net", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    if subprocess.run(bare, capture_output=True, check=False).returncode != 0:
        return "bubblewrap does not work here (no user namespaces?)"
    return ""


@functools.cache
def store_of_tests() -> Path:
    """A store with the images `echo`, `run` and `broken`, shared with all namespaces. Removed with this process."""
    folder = Path(tempfile.mkdtemp(prefix="hb-images-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for mode in ("echo", "run", "broken"):  # With the same files, which are unpacked once.
        _load(folder / "store", python_image(folder / "image.tar", SERVER, mode), mode)
    (folder / "image.tar").unlink()
    return folder / "store"


def load(file: Path, name: str) -> None:
    """Put one more image into the store of tests."""
    _load(store_of_tests(), file, name)


def _load(store: Path, file: Path, name: str) -> None:
    with ThreadPoolExecutor(1) as apart:  # A loop may be running here.
        apart.submit(asyncio.run, OciStore(store).load(file, "", name=name)).result()
