"""Which setting, annotation or variable decides the limits on a call."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from hilbert.control.call_policy import call_policy, check_namespace_policy, usable_policy
from hilbert.core.errors import InvalidSpec
from hilbert.core.model import CallPolicy, FunctionSpec
from hilbert.core.settings import GatewaySettings
from hilbert.core.values import Duration, FunctionRef

SETTINGS = GatewaySettings(
    first_byte_timeout=Duration.of(1),
    idle_timeout=Duration.of(2),
    total_timeout=Duration.of(3),
    activation_timeout=Duration.of(4),
    queue_length=5,
)
PLAIN = CallPolicy(first_byte=1, idle=2, total=3, activation=4, max_inflight=0, queue_length=5)


def spec(annotations: Mapping[str, str] = {}, env: Mapping[str, str] = {}) -> FunctionSpec:
    return FunctionSpec(ref=FunctionRef.parse("f.dev"), image="i", annotations=annotations, env=env)


def test_the_settings_count_where_nothing_else_speaks() -> None:
    assert call_policy(spec(), {}, SETTINGS) == PLAIN


def test_a_functions_annotations_win() -> None:
    found = call_policy(
        spec(
            {
                "com.hilbert.timeout.first-byte": "10s",
                "com.hilbert.timeout.idle": "20",
                "com.hilbert.timeout.total": "1m",
                "com.hilbert.timeout.activation": "250ms",
                "com.hilbert.max-inflight": "7",
                "com.hilbert.queue-length": "0",
            }
        ),
        {"com.hilbert.timeout.total": "5s", "com.hilbert.timeout.idle": "5s"},
        SETTINGS,
    )
    assert found == CallPolicy(first_byte=10, idle=20, total=60, activation=0.25, max_inflight=7, queue_length=0)


def test_a_namespaces_annotations_come_second_and_concern_times_alone() -> None:
    annotations = {"com.hilbert.timeout.total": "5s", "com.hilbert.max-inflight": "1", "com.hilbert.queue-length": "1"}
    found = call_policy(spec({"com.hilbert.timeout.idle": "0"}), annotations, SETTINGS)
    assert found == CallPolicy(first_byte=1, idle=0, total=5, activation=4, max_inflight=0, queue_length=5)


@pytest.mark.parametrize(
    ("text", "limit"), [("8", 8), ("0", 0), ("", 0), ("x", 0), ("-1", 0), ("1.5", 0), ("9" * 7, 0)]
)
def test_the_watchdogs_limit_becomes_the_gateways(text: str, limit: int) -> None:
    assert call_policy(spec(env={"max_inflight": text}), {}, SETTINGS).max_inflight == limit
    both = spec({"com.hilbert.max-inflight": "3"}, {"max_inflight": text})
    assert call_policy(both, {}, SETTINGS).max_inflight == 3


def test_the_watchdogs_own_times_are_left_to_it() -> None:
    env = {"exec_timeout": "1s", "write_timeout": "1s", "read_timeout": "1s"}
    assert call_policy(spec(env=env), {}, SETTINGS) == PLAIN


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("com.hilbert.timeout.total", "soon"),
        ("com.hilbert.timeout.idle", "-1s"),
        ("com.hilbert.timeout.first-byte", ""),
        ("com.hilbert.max-inflight", "1000001"),
        ("com.hilbert.queue-length", "many"),
    ],
)
def test_wrong_annotations_are_named_or_leave_the_settings_in_force(key: str, text: str) -> None:
    wrong = spec({key: text, "com.hilbert.timeout.activation": "9s"})
    with pytest.raises(InvalidSpec, match=key):
        call_policy(wrong, {}, SETTINGS)
    policy, why = usable_policy(wrong, {}, SETTINGS)
    assert policy == PLAIN
    assert key in why


def test_a_namespace_that_is_wrong_does_not_take_its_functions_down() -> None:
    annotations = {"com.hilbert.timeout.total": "soon"}
    policy, why = usable_policy(spec(), annotations, SETTINGS)
    assert policy == PLAIN
    assert "com.hilbert.timeout.total" in why
    with pytest.raises(InvalidSpec, match=r"com\.hilbert\.timeout\.total"):
        check_namespace_policy(annotations)
    check_namespace_policy({"com.hilbert.timeout.total": "5m", "anything": "else"})


def test_what_is_right_has_nothing_to_say() -> None:
    assert usable_policy(spec(), {}, SETTINGS) == (PLAIN, "")
