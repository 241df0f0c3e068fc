"""Container builds on this machine alone: buildah and podman with storage of their own, a registry on loopback, base images
from its files.

Nothing is fetched from a registry outside. buildah, podman and docker-registry are Debian's packages, installed when the
tests run as root and they are missing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hilbert.core.environment import inherited_environment
from support.ports import held_port

_TOOLS = ("sh", "bash", "dirname", "cat", "cp", "mkdir", "rm", "touch", "ls", "id", "env", "ln")


@functools.cache
def missing_tools() -> str:
    """Why container tests cannot run here; empty if they can."""
    wanted = [name for name in ("buildah", "podman", "docker-registry") if shutil.which(name) is None]
    if wanted and os.geteuid() == 0 and shutil.which("apt-get"):
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "--yes", "--no-install-recommends", *wanted]):
            subprocess.run(["apt-get", "-qq", *words], env=env, capture_output=True, timeout=300, check=False)
        wanted = [name for name in wanted if shutil.which(name) is None]
    if wanted:
        return f"{' and '.join(wanted)} cannot be installed here (apt-get as root is needed)"
    if os.geteuid() != 0:
        return "buildah's chroot isolation needs root here"
    return ""


class Containers:
    """buildah's storage and a registry, both in a folder of their own."""

    def __init__(self, folder: Path, port: int) -> None:
        """`port` is the registry's, and is held for it while it may run."""
        self.folder = folder
        self.registry = f"127.0.0.1:{port}"
        for name in ("root", "run", "registry"):
            (folder / name).mkdir()
        storage = f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
        (folder / "storage.conf").write_text(storage)
        registries = (
            f'unqualified-search-registries = []\n[[registry]]\nlocation = "{self.registry}"\ninsecure = true\n'
        )
        (folder / "registries.conf").write_text(registries)
        self.env = {
            **inherited_environment(),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
            "BUILDAH_ISOLATION": "chroot",
            "TMPDIR": str(folder),
        }
        self._server: subprocess.Popen[bytes] | None = None

    def start_registry(self) -> None:
        """Return once it answers."""
        config = self.folder / "registry.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {self.folder}/registry}}}}\n"
            f"http: {{addr: {self.registry}}}\n"
        )
        with (self.folder / "registry.log").open("wb") as log:
            self._server = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://{self.registry}/v2/", timeout=2):
                    return
            except OSError:
                time.sleep(0.02)
        raise AssertionError((self.folder / "registry.log").read_text())

    def stop_registry(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait()
            self._server = None

    def tags(self, name: str) -> list[str]:
        """What the registry holds under a name."""
        with urllib.request.urlopen(f"http://{self.registry}/v2/{name}/tags/list", timeout=5) as answer:
            return sorted(re.findall(r'"([^"]+)"', answer.read().decode().partition('"tags":')[2]))

    def manifest(self, name: str, reference: str) -> dict[str, Any]:
        """A manifest, or a list of them, as the registry's HTTP API gives it."""
        kinds = (
            f"application/vnd.{kind}+json"
            for kind in (
                "oci.image.index.v1", "docker.distribution.manifest.list.v2",
                "oci.image.manifest.v1", "docker.distribution.manifest.v2",
            )
        )  # fmt: skip
        return self._get(f"{name}/manifests/{reference}", accept=", ".join(kinds))

    def blob(self, name: str, digest: str) -> dict[str, Any]:
        """A blob that is JSON."""
        return self._get(f"{name}/blobs/{digest}", accept="*/*")

    def _get(self, path: str, *, accept: str) -> dict[str, Any]:
        request = urllib.request.Request(f"http://{self.registry}/v2/{path}", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=5) as answer:
            found: dict[str, Any] = {"mediaType": answer.headers["Content-Type"], **json.load(answer)}
            return found

    def buildah(self, *words: str) -> str:
        """Run buildah; its output. Raises `AssertionError` with what it said."""
        done = subprocess.run(["buildah", *words], env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def import_base(self, name: str, root: Path) -> str:
        """An image of a folder; its full name."""
        image = f"{self.registry}/{name}"
        container = self.buildah("from", "scratch")
        self.buildah("copy", "--quiet", container, str(root), "/")
        self.buildah("config", "--env", f"PATH={Path(sys.base_prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin", container)
        self.buildah("commit", "--quiet", "--rm", container, image)
        return image

    def pull_again(self, image: str) -> str:
        """A container of an image fetched from the registry, not of the local copy."""
        for words in (["manifest", "rm", image], ["rmi", "--force", image]):
            subprocess.run(["buildah", *words], env=self.env, capture_output=True, check=False)
        assert image not in self.buildah("images", "--format", "{{.Name}}:{{.Tag}}").splitlines()
        return self.buildah("from", "--pull-always", image)

    @contextmanager
    def serving(self, container: str, command: Sequence[str], *, port: int) -> Iterator[str]:
        """Run a command in a container until the block ends; the URL at which it answers."""
        argv = ["buildah", "run", "--env", f"port={port}", container, "--", *command]
        with (self.folder / "serving.log").open("wb") as log:
            process = subprocess.Popen(argv, env=self.env, stdout=log, stderr=log, start_new_session=True)
        url = f"http://127.0.0.1:{port}"
        try:
            end = time.monotonic() + 30
            while True:
                try:
                    with urllib.request.urlopen(f"{url}/_/health", timeout=2):
                        break
                except OSError:
                    said = (self.folder / "serving.log").read_text()
                    assert time.monotonic() < end, said
                    assert process.poll() is None, said
                    time.sleep(0.05)
            yield url
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                if process.poll() is None:
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)


@contextmanager
def containers() -> Iterator[Containers]:
    """A registry that runs, and storage that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    with held_port() as port:
        made = Containers(folder, port)
        try:
            made.start_registry()
            yield made
        finally:
            made.stop_registry()
            subprocess.run(["buildah", "rm", "--all"], env=made.env, capture_output=True, check=False)
            shutil.rmtree(folder, ignore_errors=True)


def tiny_root(folder: Path) -> Path:
    """A root file system with a shell and a few programs of this machine."""
    for name in ("bin", "usr/bin", "etc", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "tmp").chmod(0o1777)
    (folder / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    for name in _TOOLS:
        path = shutil.which(name)
        if path is not None:
            _install(Path(path).resolve(), folder, at=folder / "bin" / name)
    return folder


def python_root(folder: Path) -> Path:
    """The same with this Python, its standard library, pip, and the machine's configuration of pip."""
    tiny_root(folder)
    base = Path(sys.base_prefix).resolve()
    executable = Path(os.path.realpath(sys.executable))
    _install(executable, folder, at=folder / f"{base}/bin/python3".lstrip("/"))
    library = Path(sysconfig.get_path("stdlib", vars={"base": str(base), "installed_base": str(base)}))
    target = folder / str(library).lstrip("/")
    skipped = shutil.ignore_patterns(
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "__pycache__",
        "config-*",
        "*.a",
        "idlelib",
        "*tk*",
        "ensurepip",
        "lib2to3",
    )
    shutil.copytree(library, target, ignore=skipped, symlinks=False, dirs_exist_ok=True)
    packages = target / "site-packages"
    packages.mkdir()
    for wheel in (library / "ensurepip" / "_bundled").glob("pip-*.whl"):  # Debian's own Python has none.
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    _libraries(sorted(target.glob("lib-dynload/*.so")), folder)
    # Wheels name the parts of the C library one by one.
    for libc in folder.rglob("libc.so.6"):
        home = Path("/") / libc.parent.relative_to(folder)
        for name in ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libm.so.6", "libresolv.so.2"):
            if (home / name).is_file():
                shutil.copy(home / name, libc.parent)
    for path in (Path("/etc/pip.conf"), Path("/etc/ssl/certs/ca-certificates.crt")):
        if path.is_file():
            (folder / str(path).lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / str(path).lstrip("/"))
    return folder


def _install(program: Path, root: Path, *, at: Path) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(program, at)
    _libraries([program], root)


def _libraries(programs: Sequence[Path], root: Path) -> None:
    """Copy the shared libraries that programs need, to where they look for them."""
    said = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    for path in re.findall(r"(/\S+)", said):
        target = root / path.lstrip("/")
        if not target.exists() and Path(path).is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
