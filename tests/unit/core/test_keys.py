"""The table of labels and annotations against the code that reads them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hilbert
from hilbert.control import governing
from hilbert.control.delivery.retries import RetryPolicy
from hilbert.control.scaling.alerts import DEFAULT_FACTOR
from hilbert.control.scaling.policy import BOUNDS_ONLY_TARGET, DEFAULT_PROPORTION, RPS, ZERO_AFTER, LoadPolicy
from hilbert.core import limits, settings
from hilbert.core.keys import OURS, SECTIONS, SETTABLE, WRITTEN, Place, placed
from hilbert.providers.kubernetes.render import probes

SOURCE = Path(hilbert.__file__).parent
NAMED = re.compile(r"(?:ANNOTATION|LABEL|NS)_[A-Z_]+|MARKER")
"""How constants are called that hold a key."""
FILES = {"com.openfaas.docker.config", "com.openfaas.secrets"}
"""Of a build's archive."""
OTHERS = {"app.kubernetes.io/managed-by", "app.kubernetes.io/name", "kubernetes.io/metadata.name"}
"""Kubernetes' own, which all software there uses in the same way."""
PUT_TOGETHER = {
    limits.PREFIX + name
    for name in (
        *limits.PLACES,
        limits.RATE,
        limits.BURST,
        limits.STARTS,
        limits.API_WRITES,
        limits.LOG_BYTES,
        limits.WEIGHT,
    )
} | {
    f"com.openfaas.{kind}.http.{field}"
    for kind, fields in (("health", probes._LIVENESS), ("ready", probes._READINESS))
    for field in (*fields, "path", "initialDelay")
}
"""Names that stand nowhere in the code as a whole."""
ALL = {*SETTABLE, *(key.name for key in WRITTEN)}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        if path.parent.name != "keys":
            yield str(path.relative_to(SOURCE)), ast.parse(path.read_text())


def texts() -> Iterator[tuple[str, str]]:
    """Every literal of the code that is a key, and where it stands."""
    for where, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
                if text.startswith(("com.hilbert.", "com.openfaas.")) and " " not in text and "=" not in text:
                    yield text, where
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                literal = node.value
                if NAMED.fullmatch(node.target.id) and isinstance(literal, ast.Constant):
                    yield str(literal.value), where


def test_every_key_that_the_code_reads_is_in_the_table() -> None:
    found = {text: where for text, where in texts() if text not in FILES | OTHERS}
    assert len(found) > 80
    # What ends in a full stop or a dash begins several names.
    missing = {text: where for text, where in found.items() if text[-1] not in ".-" and text not in ALL}
    assert not missing, "core/keys has to list them"
    assert ALL >= PUT_TOGETHER


def test_every_key_of_the_table_is_read_by_the_code() -> None:
    found = {text for text, _ in texts()} | PUT_TOGETHER
    off = {f"com.hilbert.tenant.{piece}" for piece in ("quota", "limits", "network", "pod-security")}
    assert ALL - found - off == set()
    assert "com.hilbert.tenant." in found


def test_no_key_stands_twice() -> None:
    assert sum(len(keys) for _, keys in SECTIONS) == len(SETTABLE)
    assert not SETTABLE.keys() & {key.name for key in WRITTEN}


def test_who_may_set_a_key_of_a_namespace_is_as_the_api_decides_it() -> None:
    for name in placed(Place.NAMESPACE):
        assert SETTABLE[name].governed == governing.is_governing(name), name
    assert not any(SETTABLE[name].governed for name in placed(Place.FUNCTION) - placed(Place.NAMESPACE))
    assert governing.OURS == OURS


def test_some_provider_acts_on_each_key_and_each_has_a_sentence() -> None:
    for key in SETTABLE.values():
        assert key.host or key.kubernetes, key.name
        assert key.meaning.endswith("."), key.name
        assert key.value, key.name
        assert not key.images or not key.kubernetes, key.name


RETRY = RetryPolicy()


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("com.openfaas.scale.min", LoadPolicy().min),
        ("com.openfaas.scale.max", LoadPolicy().max),
        ("com.openfaas.scale.type", f"`{RPS}`"),
        ("com.openfaas.scale.target-proportion", DEFAULT_PROPORTION),
        ("com.openfaas.scale.zero-duration", f"`{ZERO_AFTER / 60:g}m`"),
        ("com.openfaas.scale.factor", DEFAULT_FACTOR),
        ("com.openfaas.retry.codes", f"`{','.join(str(code) for code in sorted(RETRY.codes))}`"),
        ("com.hilbert.limits.weight", f"{limits.TenantLimits().weight:g}"),
        *((f"com.openfaas.health.http.{field}", default) for field, default in probes._LIVENESS.items()),
        *((f"com.openfaas.ready.http.{field}", default) for field, default in probes._READINESS.items()),
    ],
)
def test_defaults_are_those_of_the_code(name: str, default: Any) -> None:
    assert SETTABLE[name].default == str(default)


def test_settings_that_defaults_name_are_there() -> None:
    known = settings.known_settings()
    named = {
        name for key in SETTABLE.values() for name in re.findall(r"`([a-z]+\.[a-z_]+)`", key.default + key.meaning)
    }
    assert len(named) > 10
    assert not named - known.keys()
    assert f"; {BOUNDS_ONLY_TARGET:g} where" in SETTABLE["com.openfaas.scale.target"].default
