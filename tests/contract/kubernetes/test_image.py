"""The gateway's image, built from `deploy/Dockerfile` on a base made of this machine's own Python, and run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hilbert import __version__

pytestmark = pytest.mark.double("it needs no cluster")

ROOT = Path(__file__).parents[3]
_SHELL = ("/bin/dash", "/bin/mkdir", "/bin/chown")
_LIBRARIES = (
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libutil.so.1",
    "libm.so.6",
    "libgcc_s.so.1",
    "libstdc++.so.6",
)
_LEFT_OUT = ("test", "site-packages", "__pycache__", "idlelib", "tkinter", "lib2to3", "config-*")
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")

Buildah = Callable[..., str]


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """Buildah with a store of its own, so that nothing stays behind."""
    tool = shutil.which("buildah")
    if tool is None or os.geteuid() != 0:
        pytest.skip("needs buildah and root")
    if not Path("/bin/dash").exists() or shutil.which("ldd") is None:
        pytest.skip("knows only how to make a base on Debian")
    store = tmp_path_factory.mktemp("store")
    where = [tool, "--root", str(store / "root"), "--runroot", str(store / "run"), "--storage-driver", "vfs"]

    def run(*arguments: str) -> str:
        done = subprocess.run([*where, *arguments], capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, f"buildah {' '.join(arguments)}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout.strip()

    yield run
    for container in run("containers", "--quiet").split():
        run("rm", container)
    shutil.rmtree(store, ignore_errors=True)


def make_root(folder: Path) -> None:
    """A root file system with this interpreter, its libraries and a shell."""
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    target = folder / "usr" / "local"
    shutil.copytree(library, target / "lib" / library.name, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True)
    (target / "lib" / library.name / "site-packages").mkdir()
    (target / "bin").mkdir()
    shutil.copy(python, target / "bin" / python.name)
    (target / "bin" / "python3").symlink_to(python.name)
    libraries = folder / "lib" / "x86_64-linux-gnu"
    for path in (libraries, folder / "lib64", folder / "bin", folder / "tmp", folder / "etc" / "ssl" / "certs"):
        path.mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    needing = [python, *(library / "lib-dynload").glob("*.so"), *map(Path, _SHELL)]
    needed = {Path("/lib/x86_64-linux-gnu") / name for name in _LIBRARIES}
    for start in range(0, len(needing), 20):
        shown = subprocess.run(
            ["ldd", *map(str, needing[start : start + 20])], capture_output=True, text=True, check=False
        )
        needed |= {Path(found) for found in re.findall(r"=> (/\S+)", shown.stdout)}
    for found in needed:
        if found.exists():
            shutil.copy(found.resolve(), libraries / found.name)
    shutil.copy(Path("/lib64/ld-linux-x86-64.so.2").resolve(), folder / "lib64" / "ld-linux-x86-64.so.2")
    for tool in _SHELL:
        shutil.copy(Path(tool).resolve(), folder / "bin" / Path(tool).name)
    (folder / "bin" / "sh").symlink_to("dash")
    if _AUTHORITIES.exists():
        shutil.copy(_AUTHORITIES, folder / _AUTHORITIES.relative_to("/"))


@pytest.fixture(scope="module")
def container(buildah: Buildah, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A container of the image."""
    folder = tmp_path_factory.mktemp("base")
    make_root(folder)
    scratch = buildah("from", "scratch")
    buildah("copy", "--quiet", scratch, str(folder), "/")
    environment = {
        "PATH": "/usr/local/bin:/bin",
        "LD_LIBRARY_PATH": "/usr/local/lib:/lib/x86_64-linux-gnu",
        "PIP_CERT": str(_AUTHORITIES),
    }
    buildah("config", *(f"--env={key}={value}" for key, value in environment.items()), scratch)
    buildah("commit", "--quiet", scratch, "base")
    shutil.rmtree(folder)
    dockerfile = str(ROOT / "deploy" / "Dockerfile")
    isolation = ("--isolation", "chroot")
    buildah(
        "build", *isolation, "--file", dockerfile, "--build-arg", "BASE=localhost/base", "--tag", "gateway", str(ROOT)
    )
    return buildah("from", "localhost/gateway")


def test_image_holds_the_command_and_the_cluster_client(buildah: Buildah, container: str) -> None:
    run = ("run", "--isolation", "chroot", container, "--", "/opt/hilbert/bin/python", "-c")
    seen = buildah(
        *run,
        "import hilbert, hilbert.providers.kubernetes.provider as p; print(hilbert.__version__, p.KubernetesProvider.name)",
    )
    assert seen.split() == [__version__, "kubernetes"]
    shown = buildah(*run[:-2], "/opt/hilbert/bin/hilbert", "install", "kubernetes", "--dry-run")
    assert "kind: ClusterRole" in shown


def test_image_runs_as_an_ordinary_user_who_owns_its_state(buildah: Buildah, container: str) -> None:
    code = "import os; open('/var/lib/hilbert/x', 'w'); print(os.getuid(), os.access('/opt/hilbert', os.W_OK))"
    seen = buildah("run", "--isolation", "chroot", container, "--", "/opt/hilbert/bin/python", "-c", code)
    assert seen.split() == ["10001", "False"]


STARTED = """
import os, signal, socket, subprocess, time, urllib.request

free, other = socket.socket(), socket.socket()  # They hold the ports: bound until the end, and never listening.
for holder in free, other:
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
port, metrics = free.getsockname()[1], other.getsockname()[1]
environ = {
    **os.environ,
    "HILBERT_PROVIDER__NAME": "memory",
    "HILBERT_GATEWAY__PORT": str(port),
    "HILBERT_GATEWAY__METRICS_PORT": str(metrics),
    "HILBERT_GATEWAY__BASIC_AUTH": "false",
}
gateway = subprocess.Popen(["/opt/hilbert/bin/hilbert", "up", "--only-gateway"], env=environ)
end = time.monotonic() + 60
while True:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
            print("ready", answer.status)
            break
    except OSError:
        assert gateway.poll() is None and time.monotonic() < end, gateway.poll()
        time.sleep(0.1)
gateway.send_signal(signal.SIGTERM)
print("ended", gateway.wait(60))
"""


def test_image_starts_as_a_gateway_and_ends_when_told(buildah: Buildah, container: str) -> None:
    """With the arguments of the Deployment; on the memory provider, since there is no cluster inside."""
    run = ("run", "--isolation", "chroot", container, "--", "/opt/hilbert/bin/python", "-c")
    seen = buildah(*run, STARTED)
    assert "ready 200" in seen
    assert "ended 0" in seen


def test_image_of_the_cluster_suites_function_is_made_from_it(buildah: Buildah, container: str) -> None:
    folder = ROOT / "tests" / "support" / "echo"
    given = ("--isolation", "chroot", "--build-arg", "GATEWAY=localhost/gateway", "--tag", "echo")
    buildah("build", *given, str(folder))
    echo = buildah("from", "localhost/echo")
    shown = buildah("run", "--isolation", "chroot", echo, "--", "/opt/hilbert/bin/python", "-c", ECHOED)
    assert "answered b'hello'" in shown
    assert "called with 5 bytes" in shown


ECHOED = """
import os, socket, subprocess, time, urllib.request

holder = socket.socket()  # It holds the port: bound until the end, and never listening.
holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
holder.bind(("127.0.0.1", 0))
port = holder.getsockname()[1]
environ = {**os.environ, "port": str(port)}
command = ["/opt/hilbert/bin/python", "-m", "hilbert.watchdog"]
watchdog = subprocess.Popen(command, env=environ, stderr=subprocess.STDOUT)
end = time.monotonic() + 60
while True:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", data=b"hello") as answer:
            print("answered", answer.read(), flush=True)
            break
    except OSError:
        assert watchdog.poll() is None and time.monotonic() < end, watchdog.poll()
        time.sleep(0.1)
watchdog.terminate()
watchdog.wait(60)
"""
