"""A hostile function: expressions that are evaluated inside a replica, and what came of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hilbert.core.model import Endpoint
from hilbert.testing.harness import call

PRELUDE = """
import json, os, socket, ctypes

def tried(work):
    try:
        return ["done", work()]
    except BaseException as exc:
        return ["refused", type(exc).__name__]

libc = ctypes.CDLL(None, use_errno=True)

def system(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result

def read(path):
    with open(path, "rb") as file:
        return file.read().decode("latin-1")

def write(path):
    with open(path, "w") as file:
        file.write("mine")

def connect(address, family=socket.AF_UNIX):
    with socket.socket(family) as client:
        client.settimeout(2)
        client.connect(address)
"""


async def inside(endpoint: Endpoint, expressions: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Evaluate each expression in the function: `done` with the value, or `refused` with the exception's name."""
    body = ", ".join(f"{name!r}: tried(lambda: {code})" for name, code in expressions.items())
    status, answer = await call(endpoint, f"{PRELUDE}\nprint(json.dumps({{{body}}}))".encode())
    assert status == 200, answer
    return {name: (kind, value) for name, (kind, value) in json.loads(answer).items()}


def refused(results: Mapping[str, tuple[str, Any]]) -> bool:
    wrong = {name: value for name, (kind, value) in results.items() if kind != "refused"}
    assert not wrong, f"should have been refused: {wrong}"
    return True
