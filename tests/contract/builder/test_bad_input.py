"""Builds that cannot work: each a clear error, the image before untouched, nothing half done."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilbert.builder.build_errors import BuildFailed, InvalidHandler, InvalidTemplate, TemplateNotFound
from hilbert.builder.image_store import Store
from hilbert.core.errors import StorageFull
from support.build import Project, needs_npm, write


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def refusing() -> Iterator[str]:
    """A registry that says no to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def pip_index(project: Project, url: str) -> None:
    """Let pip ask this index alone, without the machine's configuration."""
    project.env = {name: value for name, value in project.env.items() if not name.startswith("PIP_")}
    project.env |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url, "PIP_RETRIES": "1", "PIP_TIMEOUT": "5"}


def npm_registry(project: Project, url: str) -> None:
    project.env |= {"npm_config_registry": url, "npm_config_fetch_retries": "0"}


def is_clean(store: Store) -> bool:
    """Whether nothing of a failed build is left."""
    return not any(list((store.path / name).iterdir()) for name in ("tmp", "layers", "bundles", "index"))


def test_a_python_package_that_does_not_exist(project: Project, refusing: str) -> None:
    """pip's words are in the log, and the hint says what may help."""
    wheels = project.folder / "wheels"
    wheels.mkdir()
    pip_index(project, refusing)
    project.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    request = project.begin("f", "python3-http", {"requirements.txt": "no-such-package==1\n"})
    with pytest.raises(BuildFailed, match="pip could not install") as caught:
        project.build(request)
    assert "ALLOW_BUILD_SCRIPTS" in caught.value.hint
    assert "no-such-package" in "\n".join(caught.value.log)
    assert is_clean(project.store)


def test_the_package_index_is_down(project: Project) -> None:
    """The hint says so."""
    pip_index(project, "http://127.0.0.1:1/simple")
    request = project.begin("f", "python3-http", {"requirements.txt": "anything\n"})
    with pytest.raises(BuildFailed) as caught:
        project.build(request)
    assert "cannot be reached" in caught.value.hint
    assert is_clean(project.store)


def test_the_package_index_refuses(project: Project, refusing: str) -> None:
    """As one that asks for a password."""
    pip_index(project, refusing)
    request = project.begin("f", "python3-http", {"requirements.txt": "anything\n"})
    with pytest.raises(BuildFailed, match="pip could not install"):
        project.build(request)
    assert is_clean(project.store)


@needs_npm
def test_npm_registry_down_and_refusing(project: Project, refusing: str) -> None:
    """Nothing is stored, and the next try begins anew."""
    package = json.dumps({"dependencies": {"anything": "1.0.0"}})
    request = project.begin("f", "node22", {"package.json": package})
    npm_registry(project, "http://127.0.0.1:1/")
    with pytest.raises(BuildFailed, match="npm could not install") as caught:
        project.build(request)
    assert "cannot be reached" in caught.value.hint
    npm_registry(project, refusing)
    with pytest.raises(BuildFailed, match="npm could not install"):
        project.build(request)
    assert is_clean(project.store)


@needs_npm
def test_a_package_file_that_is_broken(project: Project) -> None:
    """Before npm sees it."""
    request = project.begin("f", "node22", {"package.json": "{"})
    with pytest.raises(BuildFailed, match=r"package\.json is not JSON"):
        project.build(request)


def test_code_of_dependencies_does_not_run(project: Project, tmp_path: Path) -> None:
    """A source package would run its build script: it is refused unless that is allowed."""
    marker = tmp_path / "ran"
    source = write(
        tmp_path / "evil-1.0",
        {"setup.py": f"open({str(marker)!r}, 'w')\nfrom setuptools import setup\nsetup(name='evil', version='1.0')\n"},
    )
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    shutil.make_archive(str(wheels / "evil-1.0"), "gztar", root_dir=tmp_path, base_dir="evil-1.0")
    assert source.is_dir()
    pip_index(project, "http://127.0.0.1:1/simple")
    project.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    request = project.begin("f", "python3-http", {"requirements.txt": "evil==1.0\n"})
    with pytest.raises(BuildFailed) as caught:
        project.build(request)
    assert "only wheels are installed" in caught.value.hint
    assert not marker.exists()


@needs_npm
def test_npm_scripts_do_not_run(project: Project, tmp_path: Path) -> None:
    """Those of a dependency run only when that is allowed."""
    marker = tmp_path / "ran"
    write(
        project.folder / "f" / "dep",
        {"package.json": json.dumps({"name": "dep", "version": "1.0.0", "scripts": {"install": f"touch {marker}"}})},
    )
    request = project.begin_in_place(
        "f", "node22", {"package.json": json.dumps({"dependencies": {"dep": "file:./dep"}})}
    )
    built = project.build(request)
    assert built.manifest.layers
    assert not marker.exists()
    project.build(project.request("f", "node22", build_args={"ALLOW_BUILD_SCRIPTS": "true"}))
    assert marker.exists()


def test_unknown_language(project: Project) -> None:
    """With the nearest."""
    project.begin("f", "bash")
    with pytest.raises(TemplateNotFound) as caught:
        project.build(project.request("f", "bsah"))
    assert "bash" in caught.value.hint


def test_links_out_of_the_handler(project: Project) -> None:
    """Neither files of the machine nor the project's secrets get into a bundle."""
    request = project.begin("f", "bash")
    (request.handler / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(InvalidHandler, match="leads out of its folder"):
        project.build(request)
    assert project.store.find("f", namespace="") is None


def test_a_template_that_points_out_of_itself(project: Project) -> None:
    """Its handler folder and its files."""
    project.begin("f", "bash")
    write(
        project.folder,
        {"template/evil/template.yml": "handler_folder: ../../x\nbundle: {mode: streaming, process: cat}\n"},
    )
    with pytest.raises(InvalidTemplate, match="must be a folder inside"):
        project.build(project.request("f", "evil"))
    write(project.folder, {"template/evil/template.yml": "bundle: {mode: streaming, process: cat}\n"})
    (project.folder / "template" / "evil" / "shadow").symlink_to("/etc/shadow")
    with pytest.raises(InvalidHandler, match="leads out of its folder"):
        project.build(project.request("f", "evil"))


def test_secrets_stay_out(project: Project) -> None:
    """A handler in the project's own folder takes neither secrets nor earlier builds with it."""
    request = project.begin(
        "f", "bash", {".secrets/key": "hunter2", "build/x": "", "template/y": "", ".git/config": ""}
    )
    built = project.build(request)
    assert {path.name for path in built.path.rglob("*") if path.is_file()} == {
        "bundle.json",
        "handler.sh",
        "handler_test.sh",
    }


def _mount(folder: Path) -> bool:
    if os.geteuid() != 0:
        return False
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    return done.returncode == 0


def test_a_full_disk(project: Project) -> None:
    """The bundle before goes on being what the name means; after making room it works again."""
    with tempfile.TemporaryDirectory(prefix="hb-") as folder:
        if not _mount(Path(folder)):
            pytest.skip("mounting a small file system needs root and CAP_SYS_ADMIN")
        try:
            project.store = Store(Path(folder) / "images")
            request = project.begin("f", "bash")
            first = project.build(request)
            (request.handler / "large").write_bytes(os.urandom(256 * 1024))
            with pytest.raises(StorageFull) as caught:
                project.build(request, skip_tests=True)
            assert "nothing was changed" in caught.value.message
            assert project.store.find("f", namespace="") == first.record
            assert not list((project.store.path / "tmp").iterdir())
            (request.handler / "large").unlink()
            packages = project.begin("g", "python3-http", {"requirements.txt": "segno==1.6.1\n"})
            with pytest.raises((BuildFailed, StorageFull)) as failed:
                project.build(packages)
            assert "the disk is full" in failed.value.message + failed.value.hint
            assert not list((project.store.path / "layers").iterdir())
            assert project.build(request).record.digest == first.record.digest
        finally:
            subprocess.run(["umount", folder], check=True)
