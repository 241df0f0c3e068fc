"""Attacks once more, with the platform run by an ordinary user.

Whoever installs Hilbert for themselves has no user for each namespace and no control groups: other walls have to hold. Of the attacks
of clients and upstreams those are run again that meet what a user has: descriptors, sockets in folders, a password in a file.
Attacks on networks are run as both users where they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ATTACKS = Path(__file__).parent / "function"
ON_THE_WIRE = ("client/test_sources.py", "client/test_guessing.py", "upstream/test_answers.py")
CONTRACTS = Path(__file__).parents[1] / "contract" / "providers"
ROOT = Path(__file__).parents[2]
USER = 54321
"""A user id that nobody has."""

INTERPRETER = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
"""The distribution's: one in root's home is closed to other users. It must be able to load our extension modules."""


pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="these tests are run by an ordinary user already"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not installed"),
]


@pytest.mark.parametrize(
    "module", sorted(path.name for path in ATTACKS.glob("test_*.py") if path.name != "test_engines.py")
)
def test_attacks_from_inside_a_function(module: str) -> None:
    run_as_user(ATTACKS / module)


@pytest.mark.parametrize("module", ON_THE_WIRE)
def test_attacks_of_clients_and_upstreams(module: str) -> None:
    run_as_user(ATTACKS.parent / module)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_attacks_of_pages() -> None:
    """The browser is the user's, too."""
    pytest.importorskip("playwright.sync_api")
    run_as_user(ATTACKS.parent / "page" / "test_hostile_page.py")


@pytest.mark.skipif(shutil.which("newuidmap") is None, reason="newuidmap (package uidmap) is not installed")
@pytest.mark.parametrize(
    "module", [CONTRACTS / "test_engines.py", ATTACKS / "test_engines.py"], ids=["contract", "attacks"]
)
def test_images_with_several_user_ids(module: Path, tmp_path: Path) -> None:
    """The user has a range of ids, in files that this test alone sees."""
    files = {
        "passwd": f"root:x:0:0::/:/bin/sh\nordinary:x:{USER}:{USER}::/:/bin/sh\n",
        "subuid": "ordinary:700000:65536\n",
        "subgid": "ordinary:700000:65536\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    covers = " && ".join(f"mount --bind {tmp_path / name} /etc/{name}" for name in files)
    only = () if module.is_relative_to(CONTRACTS) else ("-k", "crun")  # What is the same under all was seen as root.
    run_as_user(module, *only, before=["unshare", "-m", "sh", "-c", f'{covers} && exec "$@"', "sh"])


def run_as_user(module: Path, *more: str, before: Sequence[str] = ()) -> None:
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    home = Path("/tmp") / f"hb-ordinary-{os.getpid()}-{module.name}"
    home.mkdir(mode=0o700)
    os.chown(home, USER, USER)
    environ = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "PYTHONPATH": f"{ROOT / 'src'}:{packages}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(home / "hypothesis"),
    }
    as_user = [*before, "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", "-i"]
    as_user += [f"{name}={value}" for name, value in environ.items()]
    try:
        probe = subprocess.run([*as_user, INTERPRETER, "-c", "import pytest, uvloop, hilbert"], capture_output=True)
        if probe.returncode != 0:
            pytest.skip(f"{INTERPRETER} cannot run the tests as another user: {probe.stderr.decode()[-200:]}")
        command = [*as_user, INTERPRETER, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={home / 'tmp'}"]
        done = subprocess.run([*command, str(module), *more], cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert " passed" in done.stdout
    finally:
        shutil.rmtree(home, ignore_errors=True)
