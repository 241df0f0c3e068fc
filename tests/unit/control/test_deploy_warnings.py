"""What a deployment is warned of."""

from __future__ import annotations

from typing import Any

import pytest

from hilbert.control.deploy_warnings import deploy_warnings
from hilbert.core.model import CallPolicy, FunctionSpec, Resources
from hilbert.core.values import DEFAULT_NAMESPACE, FunctionName, FunctionRef, Quantity

REF = FunctionRef(DEFAULT_NAMESPACE, FunctionName("f"))


def warned(policy: CallPolicy = CallPolicy(first_byte=60), **fields: Any) -> list[str]:  # noqa: B008 - frozen
    return deploy_warnings(FunctionSpec(ref=REF, image="i", **fields), policy)


def memory(text: str) -> dict[str, Any]:
    return {"limits": Resources(memory=Quantity.parse(text))}


def cpu(text: str) -> dict[str, Any]:
    return {"limits": Resources(cpu=Quantity.parse(text))}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"env": {"exec_timeout": "5m"}}, "the gateway waits 1m0s at most for the first byte"),
        ({"env": {"exec_timeout": "90"}}, "com.hilbert.timeout.first-byte"),
        ({"env": {"write_timeout": "2m"}}, "write_timeout: the function may take 2m"),
        ({"env": {"exec_timeout": "soon"}}, "exec_timeout: 'soon' is not a duration"),
        ({"env": {"read_timeout": "-1s"}}, "read_timeout: '-1s' is not a duration"),
        ({"labels": {"com.openfaas.scale.min": "two"}}, "com.openfaas.scale.min: 'two' is not a whole number"),
        ({"labels": {"com.openfaas.scale.max": "0"}}, "com.openfaas.scale.max: '0' is not"),
        ({"labels": {"com.openfaas.scale.factor": "120"}}, "from 0 to 100"),
        ({"labels": {"com.openfaas.scale.min": "5", "com.openfaas.scale.max": "2"}}, "2 is below"),
        ({"labels": {"com.openfaas.scale.minimum": "2"}}, "did you mean com.openfaas.scale.min?"),
        ({"labels": {"com.openfaas.scale.target": "many"}}, "com.openfaas.scale.target: 'many'"),
        ({"labels": {"com.openfaas.scale.zero": "perhaps"}}, "com.openfaas.scale.zero: 'perhaps'"),
        ({"annotations": {"com.openfaas.scale.min": "2"}}, "only as a label of a function"),
        ({"annotations": {"schedule": "* * * * *"}}, "no effect without the annotation topic: cron-function"),
        ({"annotations": {"schedule": "* * * * *", "topic": "cron"}}, "no effect without"),
        ({"env": {"max_inflight": "many"}}, "max_inflight: 'many' is not a whole number"),
        ({"annotations": {"com.hilbert.max-inflght": "2"}}, "did you mean com.hilbert.max-inflight?"),
        (memory("5Mi"), "limits.memory: 5Mi is too little for a Python function"),
        (memory("9000000"), "limits.memory: 9000000 is too little"),
        (cpu("100"), "limits.cpu: 100 is 100 whole processors; did you mean 100m?"),
        (cpu("2k"), "limits.cpu: 2k is 2000 whole processors"),
    ],
)
def test_what_cannot_be_meant_is_named(fields: dict[str, Any], said: str) -> None:
    (warning,) = warned(**fields)
    assert said in warning


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"env": {"exec_timeout": "1m", "write_timeout": "5m"}},
        {"env": {"exec_timeout": "30s"}},
        {"labels": {"com.openfaas.scale.min": "2", "com.openfaas.scale.max": "4", "com.openfaas.scale.factor": "0"}},
        {"labels": {"com.openfaas.scale.type": "rps", "com.openfaas.scale.zero": "true", "team": "x"}},
        memory("64Mi"),
        memory("128M"),
        cpu("100m"),
        cpu("1m"),
        cpu("16"),
    ],
)
def test_what_is_meant_is_taken_without_a_word(fields: dict[str, Any]) -> None:
    assert warned(**fields) == []


def test_limits_that_fit_the_functions_own_are_no_matter() -> None:
    env = {"exec_timeout": "5m"}
    assert warned(CallPolicy(first_byte=400), env=env) == []
    assert warned(CallPolicy(first_byte=0), env=env) == []
    (warning,) = warned(CallPolicy(first_byte=400, total=100), env=env)
    assert "com.hilbert.timeout.total" in warning
