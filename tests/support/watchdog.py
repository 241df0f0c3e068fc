"""A real watchdog process on a unix socket, as the process runtime starts one."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.ports import held_port

START = (
    "import sys; sys.path[:0] = sys.argv[1].split(':'); from hilbert.watchdog.run import run_and_exit; run_and_exit()"
)
"""Without `site`, as the process runtime starts it."""

SEARCH = ":".join(path for path in sys.path if path.endswith(("/src", "site-packages")))


@dataclass
class Reply:
    """A whole response."""

    status: int
    body: bytes
    headers: http.client.HTTPMessage

    @property
    def text(self) -> str:
        return self.body.decode()


class UnixConnection(http.client.HTTPConnection):
    """`http.client` over a unix socket."""

    def __init__(self, path: str, timeout: float = 20) -> None:
        super().__init__("function", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass
class Watchdog:
    """One watchdog process. The socket listens before the process runs, and only the process holds it."""

    env: Mapping[str, str]
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="hb-", dir="/tmp")))
    command: tuple[str, ...] = (sys.executable, "-I", "-S", "-c", START, SEARCH)
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket_path(self) -> str:
        return str(self.folder / "s")

    @property
    def log_path(self) -> Path:
        return self.folder / "log"

    @property
    def log(self) -> str:
        return self.log_path.read_bytes().decode()

    @property
    def texts(self) -> list[str]:
        """The log's lines without their stamps."""
        return [line.split(" ", 1)[1] for line in self.log.split("\n")[:-1]]

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> Watchdog:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(self.socket_path)
            os.chmod(self.socket_path, 0o666)
            listener.listen(512)
            base = {"PATH": os.environ["PATH"], "HILBERT_LISTEN_FD": str(listener.fileno())}
            with self.log_path.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command,
                    env=base | dict(self.env),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[listener.fileno()],
                    start_new_session=True,
                )
        finally:
            listener.close()
        return self

    def connect(self) -> socket.socket:
        """A raw connection."""
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        raw.settimeout(20)
        try:
            raw.connect(self.socket_path)
        except OSError:
            raw.close()
            raise
        return raw

    def call(
        self, method: str = "GET", path: str = "/", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        connection = UnixConnection(self.socket_path)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, answer.read(), answer.headers)
        finally:
            connection.close()

    def exchange(self, path: str, body: bytes) -> Reply:
        """POST a body while reading the response, as a long body needs where the function answers as it reads."""
        connection = UnixConnection(self.socket_path)
        try:
            connection.putrequest("POST", path)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            sender = threading.Thread(target=connection.send, args=(body,))
            sender.start()
            answer = connection.getresponse()
            reply = Reply(answer.status, answer.read(), answer.headers)
            sender.join(20)
            return reply
        finally:
            connection.close()

    def wait_ready(self) -> None:
        """Until `/_/ready` says 200; it may say 503 before."""
        until(lambda: self._ready() == 200, what=f"readiness\n{self.log}")

    def _ready(self) -> int:
        try:
            return self.call(path="/_/ready").status
        except (OSError, http.client.HTTPException) as error:
            raise AssertionError(f"{error!r}\n--- log ---\n{self.log[-4000:]}") from error

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self, within: float = 20) -> int:
        assert self.process is not None
        return self.process.wait(within)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def watchdog(*, start: bool = True, ready: bool = True, handler: str = "", **env: str) -> Iterator[Watchdog]:
    """A running watchdog. `handler` is the source of a Python handler; names in `env` are the environment's."""
    made = Watchdog({})
    try:
        if handler:
            (made.folder / "handler.py").write_text(handler)
            env = {"HILBERT_MODE": "python", "HILBERT_HANDLER": str(made.folder / "handler.py")} | env
        made.env = {"HILBERT_BUNDLE": str(made.folder)} | env
        if start:
            made.start()
            if ready:
                made.wait_ready()
        yield made
    finally:
        made.close()


FUNCTION = Path(__file__).parent / "watchdog_function"

FORKING = ("streaming", "serializing", "classic")
MODES = ("python", "python-async", "http", *FORKING)


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
            port = stack.enter_context(held_port())
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


class Background:
    """A call under way on a thread."""

    def __init__(self, function: Watchdog, method: str, path: str, headers: Mapping[str, str]) -> None:
        self._answer: Reply | BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function, method, path, headers))
        self._thread.start()

    def _run(self, function: Watchdog, method: str, path: str, headers: Mapping[str, str]) -> None:
        try:
            self._answer = function.call(method, path, headers=headers)
        except (OSError, http.client.HTTPException) as error:
            self._answer = error

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Reply:
        """The answer, once it is there. Raises what the call raised."""
        self._thread.join(20)
        assert self._answer is not None, "no answer"
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


@contextlib.contextmanager
def waiting(
    function: Watchdog, path: str = "/wait", *, method: str = "POST", headers: Mapping[str, str] | None = None
) -> Iterator[Background]:
    """A call that has begun in the function and goes on until the file `release` is there."""
    call = Background(function, method, path, headers or {})
    until(lambda: call.done or (function.folder / "started").exists(), what=f"the call's start\n{function.log}")
    try:
        yield call
    finally:
        (function.folder / "release").touch()
        call._thread.join(20)


def state(pid: int) -> str:
    """A process's state as the kernel letters it; `X` for one that is not there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def runs(pid: int) -> bool:
    """A process is there and not only waiting to be reaped."""
    return state(pid) not in "XZ"


def until(truth: Callable[[], object], *, within: float = 15.0, what: str = "a condition") -> None:
    """Wait until `truth()` holds."""
    end = time.monotonic() + within
    while not truth():
        if time.monotonic() > end:
            raise AssertionError(f"waited {within:g} s for {what}")
        time.sleep(0.005)
