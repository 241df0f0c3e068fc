"""Dependencies of bundles: one layer for each distinct set, made by pip or npm in a folder of its own.

Neither runs code of the packages that it installs: pip takes wheels only, npm runs no scripts. The build argument
`ALLOW_BUILD_SCRIPTS=true` lifts that; then building a function runs what its dependencies bring, as the user who builds.
"""

from __future__ import annotations

import compileall
import hashlib
import importlib.util
import platform
import py_compile
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from hilbert.builder.build_errors import BuildFailed, storage_faults
from hilbert.builder.image_store import Store
from hilbert.builder.programs import Job, output_of
from hilbert.builder.tree import copy_tree, digest_tree

ALLOW_SCRIPTS: Final = "ALLOW_BUILD_SCRIPTS"
"""The build argument that lets dependencies run code while they are installed."""

_NODE_AT_LEAST: Final = 18
_NPM_FLAGS: Final = (
    "--omit=dev",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
    "--no-progress",
    "--loglevel=warn",
)
_PACKAGE_KEYS: Final = ("dependencies", "optionalDependencies", "overrides", "bundleDependencies")
_LOCKS: Final = ("package-lock.json", "npm-shrinkwrap.json")


class Dependencies:
    """Makes layers for one build."""

    def __init__(
        self, store: Store, job: Job, env: Mapping[str, str], *, allow_scripts: bool = False, fresh: bool = False
    ) -> None:
        self._store = store
        self._job = job
        self._env = env
        self._allow_scripts = allow_scripts
        self._fresh = fresh

    def python(self, files: Sequence[Path], folder: Path) -> str:
        """The layer for requirement files, which stand in `folder`; empty if they ask for nothing.

        Raises `BuildFailed` and `StorageFull`.
        """
        wanted = [(path, _requirements(path)) for path in files if path.is_file()]
        lines = [line for _, found in wanted for line in found]
        if not lines:
            return ""
        parts = [
            "python 1",
            sys.implementation.cache_tag or "",
            sysconfig.get_platform(),
            *map(str, platform.libc_ver()),
        ]
        parts += [f"scripts {self._allow_scripts}", *lines]
        if any(_is_local(line) for line in lines):
            parts.append(digest_tree(folder))

        def make(target: Path) -> None:
            self._job.begin("installing Python packages")
            argv = [*self._pip(), "--target", str(target)]
            argv += [word for path, _ in wanted for word in ("-r", str(path))]
            env = {**self._env, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PYTHONDONTWRITEBYTECODE": "1"}
            if self._job.run(argv, cwd=folder, env=env) != 0:
                raise self._failed("pip could not install the requirements", self._pip_hint())
            self._job.begin("compiling Python packages")
            # A program rather than `compile_tree`: it can be cancelled, and uses every core. Its status tells of files
            # that no Python of this version can read, which some packages bring on purpose.
            flags = ["-qq", "-f", "-j", "0", "--invalidation-mode", "unchecked-hash"]
            self._job.run([sys.executable, "-m", "compileall", *flags, str(target)], cwd=folder, env=self._env)

        return self._store.layer("\n".join(parts), make, fresh=self._fresh)

    def node(self, package: Path) -> str:
        """The layer for a `package.json` and the lock file beside it; empty if it asks for nothing.

        Raises `BuildFailed` and `StorageFull`.
        """
        document = read_package(package)
        wanted = {key: document[key] for key in _PACKAGE_KEYS if document.get(key)}
        if not wanted:
            return ""
        lock = next((package.parent / name for name in _LOCKS if (package.parent / name).is_file()), None)
        parts = ["node 1", str(self._node_version()), platform.machine(), sysconfig.get_platform()]
        parts += [f"scripts {self._allow_scripts}", msgspec.json.encode(wanted, order="deterministic").decode()]
        if lock is not None:
            parts.append(hashlib.sha256(lock.read_bytes()).hexdigest())
        if "file:" in parts[5]:
            parts.append(digest_tree(package.parent))

        def make(target: Path) -> None:
            self._job.begin("installing npm packages")
            with self._store.stage() as scratch:
                with storage_faults("preparing npm"):
                    copy_tree(package.parent, scratch, skip={"node_modules", ".git"})
                flags = [*_NPM_FLAGS, *([] if self._allow_scripts else ["--ignore-scripts"])]
                argv = ["npm", "install" if lock is None else "ci", *flags]
                if self._job.run(argv, cwd=scratch, env=self._env) != 0:
                    raise self._failed("npm could not install the packages", self._npm_hint())
                with storage_faults("storing npm packages"):
                    (scratch / "node_modules").mkdir(exist_ok=True)
                    (scratch / "node_modules").rename(target / "node_modules")

        return self._store.layer("\n".join(parts), make, fresh=self._fresh)

    def _pip(self) -> list[str]:
        wheels = [] if self._allow_scripts else ["--only-binary", ":all:"]
        if importlib.util.find_spec("pip") is not None:
            common = [
                "--no-compile",
                "--no-input",
                "--disable-pip-version-check",
                "--no-warn-script-location",
            ]
            return [
                sys.executable,
                "-m",
                "pip",
                "install",
                *common,
                "--progress-bar",
                "off",
                "--prefer-binary",
                *wheels,
            ]
        uv = shutil.which("uv", path=self._env.get("PATH"))
        if uv is not None:
            return [uv, "pip", "install", "--no-progress", "--python", sys.executable, *wheels]
        raise BuildFailed(
            "neither pip nor uv is here to install the requirements",
            hint=f"'{sys.executable} -m ensurepip' brings pip",
        )

    def _node_version(self) -> int:
        text = output_of(["node", "--version"], cwd=self._store.path, env=self._env) or ""
        major = text.removeprefix("v").partition(".")[0]
        if not major.isdigit():
            raise BuildFailed("node is not installed", hint=f"install Node.js {_NODE_AT_LEAST} or newer with npm")
        if int(major) < _NODE_AT_LEAST:
            raise BuildFailed(f"node {text} is too old", hint=f"install Node.js {_NODE_AT_LEAST} or newer")
        return int(major)

    def _failed(self, what: str, hint: str) -> BuildFailed:
        if "no space left on device" in self._said():
            hint = "the disk is full; free some space, e.g. with 'hilbert images prune'"
        return BuildFailed(what, hint=hint, log=self._job.tail())

    def _said(self) -> str:
        return "\n".join(self._job.tail()).lower()

    def _pip_hint(self) -> str:
        said = self._said()
        if any(sign in said for sign in ("connection refused", "failed to establish", "timed out", "name resolution")):
            return "the package index cannot be reached; check the network, or the index in pip's configuration"
        if "no matching distribution" in said or "could not find a version" in said:
            right = "is the name right, and can the package index be reached?"
            right = right if "from versions: none" in said else "is the version right?"
            if self._allow_scripts:
                return right
            return (
                f"{right} only wheels are installed; '--build-arg {ALLOW_SCRIPTS}=true' lets packages build themselves"
            )
        return ""

    def _npm_hint(self) -> str:
        said = self._said()
        if any(sign in said for sign in ("econnrefused", "enotfound", "etimedout", "econnreset", "eai_again")):
            return "the package registry cannot be reached; check the network, or the registry in npm's configuration"
        if "e404" in said or "etarget" in said:
            return "is the name and version right?"
        if "npm ci" in said and "in sync" in said:
            return "package.json and its lock file differ; run 'npm install' in the handler's folder"
        return ""


def read_package(package: Path) -> dict[str, object]:
    """A `package.json`; empty if it is missing. Raises `BuildFailed`."""
    if not package.is_file():
        return {}
    try:
        return msgspec.json.decode(package.read_bytes(), type=dict[str, object])
    except (OSError, msgspec.MsgspecError) as exc:
        raise BuildFailed(f"{package.parent.name}/{package.name} is not JSON: {exc}") from exc


def compile_tree(folder: Path) -> None:
    """Compile all Python files in it, for a quick first import. Files that do not compile are left as they are.

    The result is tied to the source by its hash and never checked against it again: nothing changes in a store.
    """
    compileall.compile_dir(
        folder,
        maxlevels=64,
        quiet=2,
        force=True,
        workers=1,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def _requirements(path: Path) -> list[str]:
    """The lines that say something. Raises `BuildFailed`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise BuildFailed(f"{path.name} cannot be read: {exc}") from exc
    lines = (line.partition(" #")[0].strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _is_local(line: str) -> bool:
    """Whether a requirement may name files, so that the layer depends on more than the line."""
    return line.startswith(("-", ".", "/")) or "file:" in line or "./" in line
