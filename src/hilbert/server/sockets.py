"""The sockets that the supervisor opens and keeps, so that a child that dies loses no waiting connection."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from pathlib import Path

from hilbert.core.errors import HilbertError, StorageFull

_BACKLOG = 4096


class PortTaken(HilbertError):
    """The address to listen on is in use or not allowed."""

    code = "port-taken"


def listen_tcp(host: str, port: int, *, count: int, setting: str) -> list[socket.socket]:
    """`count` listening sockets on one port, between which the kernel spreads connections (`SO_REUSEPORT`).

    Port 0 lets the kernel pick. `setting` is named in the error. Raises `PortTaken`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # SO_REUSEPORT would let us share the port with another program of this user's: refuse that first.
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
        opened: list[socket.socket] = []
        for _ in range(count):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if count > 1:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((host, port))
            sock.listen(_BACKLOG)
            sock.setblocking(False)
            port = sock.getsockname()[1]
            opened.append(sock)
    except OSError as exc:
        if exc.errno in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL) or isinstance(exc, socket.gaierror):
            name = setting.partition(".")[2]
            raise PortTaken(
                f"cannot listen on {host}:{port}: {exc.strerror or exc}",
                hint=f"choose another with --set {setting}=PORT (0 picks a free one), or stop what uses it"
                if exc.errno != errno.EADDRNOTAVAIL
                else f"{name.removesuffix('port')}host must be an address of this machine",
            ) from exc
        raise
    return opened


def listen_unix(path: Path) -> socket.socket:
    """A listening unix socket at `path` with mode 0600, in place of a stale one. Raises `StorageFull`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        sock.bind(str(path))
    except OSError as exc:
        sock.close()
        raise StorageFull(f"paths.run_dir: cannot make {path}: {exc.strerror}") from exc
    finally:
        os.umask(before)
    sock.listen(_BACKLOG)
    sock.setblocking(False)
    return sock


def url_of(sock: socket.socket) -> str:
    """The URL at which a client on this machine reaches the socket."""
    host, port = sock.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
