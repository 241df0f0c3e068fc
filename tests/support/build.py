"""Projects, stores and builds for tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hilbert.builder.build_request import BuildRequest
from hilbert.builder.bundling import BuiltBundle, build_bundle
from hilbert.builder.image_store import Store
from hilbert.builder.programs import Job
from hilbert.builder.templates import SHIPPED, find_template
from hilbert.cli.source.function_server import LocalRun
from hilbert.core.environment import inherited_environment
from hilbert.core.model import FunctionSpec
from hilbert.core.values import DEFAULT_NAMESPACE, FunctionRef, parse_function_name

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write files, given by relative path; the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


class Project:
    """A folder with functions, an image store, and builds of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        self.store = Store(folder / "state" / "images")
        self.env = inherited_environment()
        self.job = Job("test")

    def begin(self, name: str, lang: str, files: dict[str, str] | None = None) -> BuildRequest:
        """A function as the shipped template begins it, with some files written over."""
        shutil.copytree(find_template(lang, SHIPPED).handler, self.folder / name)
        write(self.folder / name, files or {})
        return self.request(name, lang)

    def begin_in_place(self, name: str, lang: str, files: dict[str, str]) -> BuildRequest:
        """As `begin`, in a folder that is there."""
        shutil.copytree(SHIPPED / lang / "function", self.folder / name, dirs_exist_ok=True)
        write(self.folder / name, files)
        return self.request(name, lang)

    def request(self, name: str, lang: str, **fields: object) -> BuildRequest:
        """The request for a function whose folder is there."""
        base = {"name": name, "lang": lang, "handler": self.folder / name, "image": f"{name}:latest"}
        return BuildRequest(project=self.folder, **{**base, **fields})  # type: ignore[arg-type]

    def build(self, request: BuildRequest, **how: bool) -> BuiltBundle:
        self.job = Job(request.name)
        return build_bundle(request, store=self.store, job=self.job, env=self.env, **how)

    def local_run(self, **options: Any) -> LocalRun:
        """A port that answers with what is built here."""
        return LocalRun(**{"port": 0, "images": self.store.path, "on_line": lambda line: None, **options})

    def spec(self, built: BuiltBundle, **env: str) -> FunctionSpec:
        ref = FunctionRef(namespace=DEFAULT_NAMESPACE, name=parse_function_name(built.manifest.title))
        return FunctionSpec(ref=ref, image=built.record.image, env=env)

    @contextmanager
    def running(self, built: BuiltBundle, **env: str) -> Iterator[str]:
        """The URL at which a bundle answers."""
        with self.local_run() as run:
            run.serve(self.spec(built, **env), {})
            yield f"http://127.0.0.1:{run.port}"


def git(folder: Path, *words: str) -> str:
    """Run git in a folder, apart from the user's own settings; its output."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-c", "init.defaultBranch=main", *identity, *words],
        cwd=folder,
        env={**inherited_environment(), "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def repository(folder: Path, files: dict[str, str]) -> Path:
    """A git repository with one commit."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet")
    write(folder, files)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder
