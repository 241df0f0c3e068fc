"""Recorded functions, run by the watchdog as the templates that ship with Hilbert have it run them."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import hilbert.templates
from golden.cases import Case
from support.watchdog import Watchdog

TEMPLATES = Path(hilbert.templates.__path__[0])

SITE = next(path for path in sys.path if path.endswith("site-packages"))
"""Where Flask is, as in a layer of the function's requirements."""

TEMPLATES_OF = {
    "python3-http": ("python3-http", "python3-http-debian"),
    "python3-flask": ("python3-flask",),
    "python3": ("python3",),
    "node22": ("node22",),
    "node18": ("node18",),
}
"""Templates of ours, and those whose cases they answer."""


@contextlib.contextmanager
def running(case: Case) -> Iterator[Watchdog | None]:
    """The function of a case once it is ready; None if it does not start."""
    made = Watchdog({})
    try:
        made.env = _lay_out(case, made.folder) | (case.get("env") or {})
        made.start()
        try:
            made.wait_ready()
        except AssertionError:
            made.wait(within=10)
            yield None
        else:
            yield made
    finally:
        made.close()


def _lay_out(case: Case, folder: Path) -> dict[str, str]:
    """Write the function's files; gives what the template sets in the environment."""
    handler = case["handler"]
    inner = folder / "function"
    inner.mkdir()
    files = {handler["file"]: handler["source"]} | handler.get("files", {})
    for name, text in files.items():
        (inner / name).parent.mkdir(parents=True, exist_ok=True)
        (inner / name).write_text(text)
    (folder / "tmp").mkdir()
    base = {
        "HILBERT_LAYERS": SITE,
        "HILBERT_BUNDLE": str(folder),
        "HOSTNAME": "golden-host",
        "TMPDIR": str(folder / "tmp"),
    }
    match case["template"]:
        case "python3-http" | "python3-http-debian":
            return base | {"HILBERT_MODE": "python", "HILBERT_HANDLER": str(inner / "handler.py")}
        case "python3-flask":
            shutil.copy(TEMPLATES / "python3-flask" / "index.py", folder)
            return base | {"HILBERT_MODE": "python", "HILBERT_HANDLER": str(folder / "index.py")}
        case "python3":
            shutil.copy(TEMPLATES / "python3" / "index.py", folder)
            return base | {"HILBERT_MODE": "classic", "fprocess": "python3 index.py"}
        case "node18":
            shutil.copy(TEMPLATES / "node18" / "contract.json", folder)
    shutil.copy(TEMPLATES / "node22" / "index.js", folder)
    return base | {"HILBERT_MODE": "http", "fprocess": "node index.js", "upstream_url": "unix:upstream.sock"}
