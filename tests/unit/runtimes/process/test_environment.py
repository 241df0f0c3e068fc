"""What a bundle does not act on."""

from __future__ import annotations

from typing import Any

import pytest

from hilbert.core.bundle import Manifest, Mode
from hilbert.core.model import FunctionSpec
from hilbert.core.values import DEFAULT_NAMESPACE, FunctionName, FunctionRef
from hilbert.runtimes.process.environment import disregarded


def told(mode: Mode, *, shipped: tuple[str, ...] = (), **fields: Any) -> list[str]:
    spec = FunctionSpec(ref=FunctionRef(DEFAULT_NAMESPACE, FunctionName("f")), image="i", **fields)
    return list(disregarded(spec, Manifest(mode=mode, images=shipped)))


@pytest.mark.parametrize(
    ("mode", "fields", "said"),
    [
        (Mode.CLASSIC, {"env": {"mode": "streming"}}, "environment variable mode: streming is none of python, http"),
        (Mode.CLASSIC, {"env": {"mode": "streming"}}, "the function runs as classic"),
        (Mode.PYTHON, {"env": {"mode": "http"}}, "environment variable mode: http has no effect on a Python handler"),
        (Mode.PYTHON, {"process": "cat"}, "fprocess: it has no effect on a Python handler"),
        (Mode.PYTHON, {"env": {"fprocess": "cat"}}, "fprocess: it has no effect on a Python handler"),
        (Mode.HTTP, {"annotations": {"com.hilbert.port": "5000"}}, "com.hilbert.port: it has no effect on a function"),
        (Mode.HTTP, {"annotations": {"com.hilbert.user-ids": "many"}}, "com.hilbert.user-ids: it has no effect"),
        (Mode.HTTP, {"annotations": {"com.hilbert.pull-secret": "s"}}, "com.hilbert.pull-secret: it has no effect"),
    ],
)
def test_what_has_no_effect(mode: Mode, fields: dict[str, Any], said: str) -> None:
    (sentence,) = told(mode, **fields)
    assert said in sentence


@pytest.mark.parametrize(
    ("mode", "fields"),
    [
        (Mode.CLASSIC, {"env": {"mode": "streaming"}, "process": "cat"}),
        (Mode.HTTP, {"process": "node index.js"}),
        (Mode.PYTHON, {"env": {"mode": "python"}}),
        (Mode.STATIC, {}),
        (Mode.PYTHON, {"shipped": ("figlet",), "process": "figlet", "env": {"mode": "streaming"}}),
    ],
)
def test_what_has_one_is_not_told_of(mode: Mode, fields: dict[str, Any]) -> None:
    assert told(mode, **fields) == []
