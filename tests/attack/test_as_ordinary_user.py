"""The attacks from inside a function once more, with the platform run by an ordinary user.

Whoever installs Hilbert for themselves has no user for each namespace and no control groups: other walls have to hold.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ATTACKS = Path(__file__).parent / "function"
ROOT = Path(__file__).parents[2]
USER = 54321
"""A user id that nobody has."""

INTERPRETER = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
"""The distribution's: one in root's home is closed to other users. It must be able to load our extension modules."""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other attack tests are run by an ordinary user already")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not installed")
@pytest.mark.parametrize("module", sorted(path.name for path in ATTACKS.glob("test_*.py")))
def test_attacks_from_inside_a_function(module: str) -> None:
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    home = Path("/tmp") / f"hb-ordinary-{os.getpid()}-{module}"
    home.mkdir(mode=0o700)
    os.chown(home, USER, USER)
    environ = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "PYTHONPATH": f"{ROOT / 'src'}:{packages}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(home / "hypothesis"),
    }
    as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", "-i"]
    as_user += [f"{name}={value}" for name, value in environ.items()]
    try:
        probe = subprocess.run([*as_user, INTERPRETER, "-c", "import pytest, uvloop, hilbert"], capture_output=True)
        if probe.returncode != 0:
            pytest.skip(f"{INTERPRETER} cannot run the tests as another user: {probe.stderr.decode()[-200:]}")
        command = [*as_user, INTERPRETER, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={home / 'tmp'}"]
        done = subprocess.run([*command, str(ATTACKS / module)], cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert " passed" in done.stdout
    finally:
        shutil.rmtree(home, ignore_errors=True)
