"""Which labels and annotations are told to have no effect."""

from __future__ import annotations

import pytest

from hilbert.control import known_keys
from hilbert.control.known_keys import function_keys, namespace_keys


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("com.hilbert.max-inflght", "did you mean com.hilbert.max-inflight?"),
        ("com.hilbert.Port", "did you mean com.hilbert.port?"),
        ("com.hilbert/port", "did you mean com.hilbert.port?"),
        ("com.hilbert.timeout.firstbyte", "did you mean com.hilbert.timeout.first-byte?"),
        ("com.openfaas.health.http.periodseconds", "did you mean com.openfaas.health.http.periodSeconds?"),
        ("com.openfass.retry.attempts", "did you mean com.openfaas.retry.attempts?"),
        ("com.openfaas.retry.maxwait", "did you mean com.openfaas.retry.max_wait?"),
        ("com.hilbert.anything-else-at-all", "it is not known and has no effect"),
        ("com.openfaas.queue", "it is not known and has no effect"),
        ("com.hilbert.quota.functions", "it has no effect here, only as an annotation of a namespace"),
        ("com.openfaas.scale.min", "it has no effect here, only as a label of a function"),
    ],
)
def test_an_annotation_of_a_function_that_does_nothing_is_named(key: str, said: str) -> None:
    (told,) = function_keys({}, {key: "1"})
    assert told.startswith(f"annotation {key}: ")
    assert told.endswith(said)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("com.openfaas.scale.minimum", "did you mean com.openfaas.scale.min?"),
        ("com.openfaas.min.scale", "did you mean com.openfaas.scale.min?"),
        ("com.openfaas.scaling.type", "did you mean com.openfaas.scale.type?"),
        ("com.hilbert.port", "it has no effect here, only as an annotation of a function"),
        ("com.hilbert.auth", "it has no effect here, only as an annotation"),
    ],
)
def test_a_label_of_a_function_that_does_nothing_is_named(key: str, said: str) -> None:
    (told,) = function_keys({key: "1"}, {})
    assert told.startswith(f"label {key}: ")
    assert told.endswith(said)


def test_keys_of_other_people_are_passed_over() -> None:
    keys = dict.fromkeys(
        ["topic", "schedule", "team", "com.acme.port", "com.gilbert.team", "prometheus.io.scrape", "example.com/key"],
        "1",
    )
    notes = {"com.openfaas.ui.ext": "png", "com.openfaas.git-sha": "1234567"}
    assert function_keys({**keys, "uid": "1"}, {**keys, **notes}) == []
    assert namespace_keys(keys, keys) == []


def test_every_known_key_is_taken_where_it_is_read() -> None:
    known = known_keys
    assert function_keys(dict.fromkeys(known.LABELS, "1"), dict.fromkeys(known.ON_FUNCTIONS, "1")) == []
    assert namespace_keys({}, dict.fromkeys(known.ON_NAMESPACES, "1")) == []


def test_a_namespace_is_told_of_slips_and_of_what_belongs_to_functions() -> None:
    annotations = {"com.hilbert.quota.function": "3", "com.hilbert.port": "80", "openfaas": "1"}
    assert namespace_keys({"com.hilbert.quota.secrets": "1", "openfaas": "1"}, annotations) == [
        "annotation com.hilbert.port: it has no effect here, only as an annotation of a function",
        "annotation com.hilbert.quota.function: it is not known and has no effect; did you mean com.hilbert.quota.functions?",
        "label com.hilbert.quota.secrets: it has no effect here, only as an annotation of a namespace",
    ]


def test_a_thousand_slips_are_not_told_one_by_one() -> None:
    told = function_keys({}, {f"com.hilbert.x{index}": "" for index in range(1000)})
    assert len(told) == 17
    assert told[-1] == "984 more labels and annotations have no effect"
