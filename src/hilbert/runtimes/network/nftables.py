"""Loading rules into the network that this process is in: by the library that `nft` itself is made of, or else by `nft`.

The library takes 3 ms in place of 15, as no program has to be started. It comes with `nft`; where its name is another, the
program does the same.
"""

from __future__ import annotations

import ctypes
import subprocess
from functools import cache
from typing import Final

_LIBRARY: Final = "libnftables.so.1"
_PROGRAM_MOST: Final = 20.0
"""Seconds for a run of `nft`."""


def load(program: str, text: str) -> None:
    """Apply the text as one transaction. `program` is the path of `nft`. Raises `OSError` with what was wrong.

    In a process that is not root in its network, the program needs `enter.keep_net_admin` before.
    """
    library = find_library()
    if library is None:
        load_by_program(program, text)
    else:
        _load_by_library(library, text)


def load_by_program(program: str, text: str) -> None:
    """The same with `nft` itself. Raises `OSError`."""
    try:
        done = subprocess.run(
            [program, "-f", "-"], input=text, capture_output=True, text=True, timeout=_PROGRAM_MOST, check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise TimeoutError(f"nft: no answer within {_PROGRAM_MOST:g} s") from exc
    if done.returncode != 0:
        raise _refused(done.stderr)


@cache
def find_library() -> ctypes.CDLL | None:
    """libnftables(3), or None. Whoever forks calls it first, so that its children need not load it."""
    try:
        library = ctypes.CDLL(_LIBRARY)
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_ctx_free.argtypes = [ctypes.c_void_p]
        library.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
        library.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
        library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    except (OSError, AttributeError):
        return None
    return library


def _load_by_library(library: ctypes.CDLL, text: str) -> None:
    context = library.nft_ctx_new(0)
    if not context:
        raise OSError("nft: its library could not be used")
    try:
        library.nft_ctx_buffer_error(context)
        if library.nft_run_cmd_from_buffer(context, text.encode()) != 0:
            raise _refused((library.nft_ctx_get_error_buffer(context) or b"").decode(errors="replace"))
    finally:
        library.nft_ctx_free(context)


def _refused(said: str) -> OSError:
    lines = said.strip().splitlines()
    return OSError(f"nft: {lines[0][:300] if lines else 'the rules were refused'}")
