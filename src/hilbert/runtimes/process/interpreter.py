"""The interpreter that replicas run, and the folders that it needs: the standard library, packages, Hilbert itself."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path
from typing import Final

import msgspec

import hilbert
from hilbert.core.errors import StartFailed

_NEEDED: Final = ("hilbert", "httptools", "msgspec", "structlog", "uvloop")
"""What the watchdog imports; the folders that hold them are all that is shown of this environment."""


class Interpreter(msgspec.Struct, frozen=True, kw_only=True):
    """A Python to start replicas with."""

    executable: str
    """Of the base installation: a virtual environment's is a link to it."""
    paths: tuple[str, ...]
    """Of `sys.path`, complete."""
    folders: tuple[str, ...]
    """To be readable; nothing above or beside them is needed."""

    @property
    def argv(self) -> tuple[str, ...]:
        """Isolated from the environment and the user, without `site`: the quickest way to a running interpreter."""
        entry = Path(__file__).with_name("entry.py")
        return (self.executable, "-I", "-S", "-X", "frozen_modules=on", str(entry))

    @property
    def bin(self) -> str:
        return str(Path(self.executable).parent)


def this_interpreter() -> Interpreter:
    """The one that runs this. Raises `StartFailed` if a package is missing."""
    base = Path(sys.base_prefix).resolve()
    executable = Path(sys.base_exec_prefix).resolve() / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if not executable.exists():
        executable = Path(sys.executable).resolve()
    library = [
        sysconfig.get_path(name, vars={"base": str(base), "platbase": str(base)}) for name in ("stdlib", "platstdlib")
    ]
    standard = list(dict.fromkeys([*library, f"{library[-1]}/lib-dynload"]))
    package = Path(hilbert.__file__).resolve().parent
    sites: dict[str, None] = {}
    for name in _NEEDED:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            raise StartFailed(f"the Python package {name} is missing")
        sites[str(Path(found.origin).resolve().parent.parent)] = None
    own = str(package.parent)
    # An editable installation's folder is a project: only the package in it is shown, never what lies beside.
    shown = [str(package) if site == own and not own.endswith("-packages") else site for site in sites]
    folders = dict.fromkeys([str(base) if base != Path("/usr") else "/usr", *shown])
    return Interpreter(
        executable=str(executable),
        paths=(*standard, *sites),
        folders=tuple(folders),
    )
