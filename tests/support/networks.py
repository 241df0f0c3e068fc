"""A machine and a world around it, as network namespaces, so that tests of networks touch nobody's own.

`host` is where the platform runs: it has an address on each side, and services that no function may reach. `world` is the
internet with its private and its special addresses; every one of them answers with its name.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support.platform import Answer, Platform, until

PUBLIC = "9.9.9.9"
OTHER_PUBLIC = "8.8.4.1"
"""The world's end of the link to the host."""
HOST_PUBLIC = "8.8.4.2"
PRIVATE = "10.77.1.3"
METADATA = ("169.254.169.254", "168.63.129.16", "100.100.100.200")
WORLD = (PUBLIC, PRIVATE, *METADATA, "172.20.0.9", "192.168.7.7", "100.64.0.1")
PORT = 80
HOST_PORT, HOST_LOOPBACK_PORT = 7000, 7001
ORDINARY = 1001
"""A user id without rights; it needs no account."""

_numbers = itertools.count()
_SERVER = """
import select, socket, sys
names = socket.AF_INET, socket.AF_INET6
sockets = []
for place in sys.argv[2:]:
    host, _, port = place.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.bind((host, int(port)))
    server.listen(64)
    sockets.append(server)
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    for ready in select.select([*sockets, asked], [], [])[0]:
        if ready is asked:
            question, peer = asked.recvfrom(512)
            end = question.index(b"\\0", 12) + 5
            record = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4" + socket.inet_aton("9.9.9.9")
            kind = question[end - 4 : end - 2]
            count = b"\\0\\1" if kind == b"\\0\\1" else b"\\0\\0"
            asked.sendto(question[:2] + b"\\x81\\x80\\0\\1" + count + b"\\0\\0\\0\\0" + question[12:end] + (record if kind == b"\\0\\1" else b""), peer)
        else:
            client, peer = ready.accept()
            client.sendall(f"{client.getsockname()[0]} saw {peer[0]}".encode())
            client.close()
"""


_AGAIN = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', 'import hilbert.server']).returncode)"
"""Starting it once is not enough: setpriv gives its rights up only with what it starts."""


def missing() -> str:
    """Why these tests cannot run here; empty when they can."""
    if os.geteuid() != 0:
        return "network namespaces for a test are made by root"
    absent = [name for name in ("ip", "nft", "nsenter", "unshare", "setpriv") if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    return (
        "" if subprocess.run(["unshare", "-n", "true"], check=False).returncode == 0 else "no network namespaces here"
    )


def interpreter_for(user: int, folder: Path) -> str:
    """An interpreter of this version that another user can run, with this one's modules; empty when there is none."""
    modules = [sysconfig.get_paths()["purelib"], *(path for path in sys.path if path.endswith("/src"))]
    place = folder / "python"
    for candidate in (sys.executable, f"/usr/bin/python3.{sys.version_info[1]}"):
        command = [str(candidate)]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            if candidate != sys.executable:
                subprocess.run([candidate, "-m", "venv", "--without-pip", place], check=True, capture_output=True)
                (packages,) = place.glob("lib/python*/site-packages")
                (packages / "modules.pth").write_text("\n".join(modules))
                command = [str(place / "bin" / "python")]
            tried = [
                "setpriv",
                f"--reuid={user}",
                f"--regid={user}",
                "--clear-groups",
                *command,
                "-c",
                _AGAIN,
            ]
            if subprocess.run(tried, capture_output=True, check=False, cwd="/").returncode == 0:
                return command[0]
    return ""


class Networks:
    """Both namespaces and what listens there."""

    def __init__(self) -> None:
        number = f"{os.getpid() % 100000}x{next(_numbers)}"
        self.host, self.world = f"hbt{number}h", f"hbt{number}w"
        self.folder = Path(tempfile.mkdtemp(prefix="hb-net-"))
        self.folder.chmod(0o755)
        self._servers: list[subprocess.Popen[bytes]] = []

    def open(self) -> None:
        for name in (self.host, self.world):
            _ip(f"netns add {name}")
            _ip(f"-n {name} link set lo up")
        _ip(f"link add out netns {self.host} type veth peer name in netns {self.world}")
        _ip(f"-n {self.host} addr add {HOST_PUBLIC}/24 dev out")
        _ip(f"-n {self.host} addr add fd77::2/64 dev out nodad")
        _ip(f"-n {self.host} link set out up")
        _ip(f"-n {self.world} addr add {OTHER_PUBLIC}/24 dev in")
        _ip(f"-n {self.world} addr add fd77::1/64 dev in nodad")
        _ip(f"-n {self.world} link set in up")
        for address in WORLD:
            _ip(f"-n {self.world} addr add {address}/32 dev lo")
        _ip(f"-n {self.host} route add default via {OTHER_PUBLIC}")
        _ip(f"-n {self.host} route add default via fd77::1")
        (self.folder / "resolv.conf").write_text(f"nameserver {PRIVATE}\n")
        self._serve(self.world, PRIVATE, f"0.0.0.0:{PORT}", f"0.0.0.0:{PORT + 1}", f":::{PORT}")
        self._serve(
            self.host, "127.0.0.1", f"0.0.0.0:{HOST_PORT}", f":::{HOST_PORT}", f"127.0.0.1:{HOST_LOOPBACK_PORT}"
        )

    def close(self) -> None:
        for server in self._servers:
            server.kill()
            server.wait()
        for name in (self.host, self.world):
            _ip(f"netns del {name}")
        shutil.rmtree(self.folder)

    def run(self, *command: str, where: str = "") -> str:
        """What a command prints in the host's network, or in `where`."""
        done = subprocess.run([*self.into(where), *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def load(self, rules: str) -> None:
        """Give the host's network some nftables rules."""
        subprocess.run([*self.into(), "nft", "-f", "-"], input=rules, text=True, check=True)

    def into(self, where: str = "") -> list[str]:
        return ["nsenter", f"--net=/run/netns/{where or self.host}"]

    def links_end(self, *, within: float = 90.0) -> None:
        """Wait until no replica's link is left: the kernel removes one some time after its network's last process."""
        end = time.monotonic() + within
        while self.links():
            assert time.monotonic() < end, f"left behind: {self.links()}; processes: {_in_other_networks()}"
            time.sleep(0.05)

    def links(self) -> list[str]:
        """The interfaces of replicas on the host's side."""
        names = [line.split()[0] for line in self.run("ip", "-br", "link").splitlines()]
        return [name.partition("@")[0] for name in names if name.startswith("hb")]

    def link_numbers(self) -> set[int]:
        """The same by the kernel's numbers, which do not come again."""
        words = [line.split()[:2] for line in self.run("ip", "-o", "link").splitlines()]
        return {int(number.rstrip(":")) for number, name in words if name.startswith("hb")}

    def tables(self) -> list[str]:
        return self.run("nft", "list", "tables").splitlines()

    def prefix(self, user: int, *, tun: bool = True, without: Sequence[str] = ()) -> list[str]:
        """What runs a program in the host's network, with the world's name server, as root or as an ordinary user.

        `without` are programs that it does not find.
        """
        script = [f"mount --bind {self.folder}/resolv.conf /etc/resolv.conf"]
        script += [f"mount --bind /dev/null {found}" for name in without if (found := shutil.which(name))]
        if user:
            node = self.folder / ("tun" if tun else "closed-tun")
            if not node.exists():
                os.mknod(node, 0o600 | 0o020000, os.makedev(10, 200))
                node.chmod(0o666 if tun else 0o600)
            script.append(f"mount --bind {node} /dev/net/tun")
        script.append(f'exec setpriv --reuid={user} --regid={user} --clear-groups "$@"' if user else 'exec "$@"')
        return [*self.into(), "unshare", "-m", "--propagation", "private", "sh", "-ec", "; ".join(script), "sh"]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in the host's network while the block runs."""
        with open("/proc/thread-self/ns/net") as here, open(f"/run/netns/{self.host}") as there:
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(here.fileno())

    def _serve(self, where: str, *places: str) -> None:
        server = subprocess.Popen(
            [*self.into(where), sys.executable, "-c", _SERVER, *places],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        self._servers.append(server)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        server.stdout.close()


class NetworkedPlatform(Platform):
    """A platform in the host's network."""

    def __init__(
        self, networks: Networks, *settings: str, user: int = 0, tun: bool = True, without: Sequence[str] = ()
    ) -> None:
        super().__init__(*settings)
        del self.environ["HILBERT_PROCESS__SPARES"]  # What is attacked has the default settings.
        self.networks = networks
        self.changes = 0
        """Requests to the REST API that changed something, so far."""
        command: Sequence[str] = (sys.executable,)
        if user:
            interpreter = interpreter_for(user, networks.folder)
            if not interpreter:
                pytest.skip(f"user {user} can run no Python with Hilbert's modules here")
            command = (interpreter,)
            os.chown(self.folder, user, user)
            self.environ |= {"HOME": str(self.folder), "USER": _name_of(user)}
        self.command = [*networks.prefix(user, tun=tun, without=without), *command]

    def call(self, *words: object, **more: object) -> Answer:
        with self.networks.entered():
            return super().call(*words, **more)  # type: ignore[arg-type]  # as they came

    def api(self, method: str, path: str, body: object = None) -> Answer:
        self.changes += method != "GET"
        return super().api(method, path, body)

    def deploy(self, name: str, namespace: str = "", **spec: object) -> str:
        """Deploy one of the shipped functions and wait until it answers; its full name."""
        body = {"service": name, "image": "hilbert/alpine", **({"namespace": namespace} if namespace else {}), **spec}
        answer = self.api("POST", "/system/functions", body)
        if answer.status == 409:  # The case is repeated.
            answer = self.api("PUT", "/system/functions", body)
        assert answer.status == 202, answer.text
        self.until_available(name, namespace)
        return f"{name}.{namespace or 'openfaas-fn'}"

    def until_available(self, name: str, namespace: str = "", *, replicas: int = 1) -> None:
        until(
            lambda: self.status(name, namespace).get("availableReplicas") == replicas,
            within=60,
            what=name,
            log=self._told,
        )

    def status(self, name: str, namespace: str = "") -> dict[str, object]:
        import json

        answer = self.api("GET", f"/system/function/{name}?namespace={namespace or 'openfaas-fn'}")
        found: dict[str, object] = json.loads(answer.body) if answer.status == 200 else {}
        return found

    def namespace(self, name: str, **annotations: str) -> None:
        """Make or change a namespace."""
        body: dict[str, object] = {"name": name, "labels": {"openfaas": "1"}}
        body |= {"annotations": {key.replace("__", "."): value for key, value in annotations.items()}}
        answer = self.api("POST", "/system/namespace/", body)
        if answer.status == 409:
            answer = self.api("PUT", f"/system/namespace/{name}", body)
        assert answer.status in (200, 201, 202), answer.text

    def python(self, function: str, code: str) -> str:
        """What a script prints that runs in a function made by `probe`."""
        answer = self.call(f"/function/{function}", code.encode(), timeout=60)
        assert answer.status == 200, f"{answer.text}\n{self.log[-3000:]}"
        return answer.text.strip()

    def probe(self, name: str, namespace: str = "", **spec: object) -> str:
        """A function that runs what it is sent as a Python script."""
        return self.deploy(name, namespace, envProcess="python3 -", **spec)

    def reaches(self, function: str, address: str, port: int) -> str:
        """What a TCP server says to the function, or the name of the error."""
        return self.python(
            function,
            "import socket\n"
            f"try:\n    print(socket.create_connection(({address!r}, {port}), 3).recv(100).decode())\n"
            "except Exception as exc:\n    print(type(exc).__name__)\n",
        )

    def _told(self) -> str:
        return self.log


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _ip(words: str) -> None:
    done = subprocess.run(["ip", *words.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {words}: {done.stderr}"


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _in_other_networks() -> list[str]:
    """Processes in a network that is not the tests' own, for whoever looks for what keeps a link."""
    own, found = os.stat("/proc/self/ns/net").st_ino, []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            number = os.stat(folder / "ns" / "net").st_ino
            if number != own:
                found.append(f"{folder.name} in {number}: {(folder / 'cmdline').read_bytes()[:120]!r}")
    return found
