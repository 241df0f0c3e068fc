"""Values from outside: what is taken comes back as it was, what is not is refused, and nothing ever crashes."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.core.errors import Invalid, InvalidName
from hilbert.core.values import (
    Duration,
    FunctionRef,
    NamespaceName,
    Quantity,
    parse_annotation,
    parse_env,
    parse_function_name,
    parse_label,
    parse_namespace_name,
    parse_secret_name,
)

LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
SAFE = set("abcdefghijklmnopqrstuvwxyz0123456789-")
BAD_LABELS = [
    "",
    "-",
    "-a",
    "a-",
    "A",
    "a_b",
    "a.b",
    "a/b",
    "..",
    ".",
    "a b",
    "a\n",
    "\na",
    "a\0",
    "é",
    "a" * 64,
    "\u0661",
]


@given(LABEL)
def test_a_dns_label_is_a_name(text: str) -> None:
    assert parse_function_name(text) == text
    assert parse_namespace_name(text) == text
    assert parse_secret_name(text) == text


@pytest.mark.parametrize("text", BAD_LABELS)
def test_what_is_no_dns_label(text: str) -> None:
    with pytest.raises(InvalidName) as function:
        parse_function_name(text)
    with pytest.raises(InvalidName):
        parse_namespace_name(text)
    assert function.value.message.isprintable()
    assert len(function.value.message) < 200


@given(st.text())
def test_names_are_safe_or_refused(text: str) -> None:
    for parse in (parse_function_name, parse_namespace_name, parse_secret_name):
        try:
            name = parse(text)
        except InvalidName as exc:
            refusal = exc.message
            assert refusal.isascii()
            assert refusal.isprintable()
        else:
            assert set(name) <= SAFE | {"."}
            assert name[0] not in "-."
            assert ".." not in name
            assert len(name) <= 253


def test_lengths() -> None:
    assert parse_function_name("a" * 63)
    assert parse_secret_name("a" * 253)
    for parse, text in (
        (parse_function_name, "a" * 64),
        (parse_namespace_name, "a" * 64),
        (parse_secret_name, "a" * 254),
    ):
        with pytest.raises(InvalidName):
            parse(text)


@pytest.mark.parametrize("text", ["a.b", "a.b-c.d0", "0"])
def test_secret_names_may_have_dots(text: str) -> None:
    assert parse_secret_name(text) == text


@pytest.mark.parametrize("text", [".", ".a", "a.", "a..b", "a.-b", "A.b", "a/b"])
def test_what_is_no_secret_name(text: str) -> None:
    with pytest.raises(InvalidName):
        parse_secret_name(text)


@given(LABEL, LABEL)
def test_a_ref_is_read_as_it_is_written(name: str, namespace: str) -> None:
    ref = FunctionRef.parse(f"{name}.{namespace}")
    assert (ref.name, ref.namespace) == (name, namespace)
    assert FunctionRef.parse(str(ref)) == ref
    assert FunctionRef.parse(name, default=NamespaceName(namespace)) == ref


@given(st.text())
def test_any_text_is_a_ref_or_refused(text: str) -> None:
    try:
        ref = FunctionRef.parse(text)
    except InvalidName:
        return
    assert FunctionRef.parse(str(ref)) == ref


@pytest.mark.parametrize("text", ["", ".", ".ns", "fn.", "a.b.c", "a..b", "../x", "a.b/c"])
def test_what_is_no_ref(text: str) -> None:
    with pytest.raises(InvalidName):
        FunctionRef.parse(text)


def test_refs_sort_by_namespace() -> None:
    texts = ["b.a", "a.b", "a.a"]
    assert [str(ref) for ref in sorted(FunctionRef.parse(text) for text in texts)] == ["a.a", "b.a", "a.b"]


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0", 0),
        ("0s", 0),
        ("1ns", 1),
        ("1us", 1_000),
        ("1µs", 1_000),
        ("1μs", 1_000),
        ("250ms", 250_000_000),
        ("1.5h", 5_400_000_000_000),
        ("1m30s", 90_000_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("1h1m1s1ms1us1ns", 3_661_001_001_001),
    ],
)
def test_durations_as_go_reads_them(text: str, ns: int) -> None:
    assert Duration.parse(text).ns == ns


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (250_000_000, "250ms"),
        (1_000_000_000, "1s"),
        (90_000_000_000, "1m30s"),
        (3_600_000_000_000, "1h0m0s"),
        (5_400_500_000_000, "1h30m0.5s"),
    ],
)
def test_durations_as_go_prints_them(ns: int, text: str) -> None:
    assert str(Duration(ns)) == text


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_a_duration_is_read_as_it_is_printed(ns: int) -> None:
    assert Duration.parse(str(Duration(ns))).ns == ns


@given(st.text() | st.from_regex(r"([0-9.]{1,9}(ns|us|ms|s|m|h)?){1,6}", fullmatch=True))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    for bare_seconds in (False, True):
        try:
            found = Duration.parse(text, bare_seconds=bare_seconds)
        except Invalid:
            continue
        assert 0 <= found.ns < 2**63


@pytest.mark.parametrize(
    "text", ["", " ", "1", "-1s", "+1s", "1 s", "1S", "1d", "s", ".s", "1s ", "1e3s", "\u0661s", "9" * 30 + "h"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(Invalid):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["1.5", "-1", "+1", "\u0661", "1_0", "9" * 11, " 1"])
def test_bare_seconds_are_whole_and_plain(text: str) -> None:
    assert Duration.parse("90", bare_seconds=True) == Duration.of(90)
    with pytest.raises(Invalid):
        Duration.parse(text, bare_seconds=True)


@pytest.mark.parametrize(
    ("text", "units", "millis"),
    [
        ("128Mi", 134_217_728, 134_217_728_000),
        ("1Gi", 1_073_741_824, 1_073_741_824_000),
        ("0.5", 1, 500),
        ("500m", 1, 500),
        ("1e3", 1000, 1_000_000),
        ("1E3", 1000, 1_000_000),
        ("1E", 10**18, 10**21),
        ("100n", 1, 1),
        ("0", 0, 0),
        ("1k", 1000, 1_000_000),
        (".5", 1, 500),
        ("1.", 1, 1000),
    ],
)
def test_quantities(text: str, units: int, millis: int) -> None:
    found = Quantity.parse(text)
    assert (found.units, found.millis, str(found)) == (units, millis, text)


@given(
    st.decimals(min_value=0, max_value=10**6, places=3), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "e2", "E-2"])
)
def test_a_quantity_prints_as_it_was_given(number: Decimal, suffix: str) -> None:
    found = Quantity.parse(f"{number}{suffix}")
    assert str(found) == f"{number}{suffix}"
    assert Quantity.parse(str(found)) == found
    assert found.units >= found.amount > found.units - 1


@given(st.text() | st.from_regex(r"[0-9.]{1,45}([eE][-+]?[0-9]{1,4}|[numkMGTPE]i?)?", fullmatch=True))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        found = Quantity.parse(text)
    except Invalid:
        return
    assert 0 <= found.amount < 2**63


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1 Mi", "1mi", "Mi", "1ki", "1e", "1e100", "9Ei", "1" * 41, "\u0663", "0x10", "NaN"]
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(Invalid):
        Quantity.parse(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [("a", ""), ("a", "b"), ("com.openfaas.scale.min", "2"), ("example.com/Name_x", "A.b-c_D"), ("A" * 63, "b" * 63)],
)
def test_labels(key: str, value: str) -> None:
    assert parse_label(key, value) == (key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("", "x"), ("/a", "x"), ("a/", "x"), ("a/b/c", "x"), ("-a", "x"), ("A.com/b", "x"), ("a" * 64, "x"),
     ("a", "-x"), ("a", "x."), ("a", "a b"), ("a", "x" * 64), ("a", "é"), ("a" * 254 + "/b", "x"), ("a\n", "x"), ("a", "x\n")],
)  # fmt: skip
def test_what_is_no_label(key: str, value: str) -> None:
    with pytest.raises(Invalid):
        parse_label(key, value)


@given(st.text(), st.text())
def test_pairs_are_kept_or_refused(key: str, value: str) -> None:
    for parse in (parse_label, parse_annotation, parse_env):
        try:
            found = parse(key, value)
        except Invalid as exc:
            refusal = exc.message
            assert refusal.isprintable()
        else:
            assert found == (key, value)
            assert "\0" not in key + value
            assert "=" not in key


def test_annotations_hold_any_text_but_nul() -> None:
    assert parse_annotation("topic", '{"a": "é\n"}')[1] == '{"a": "é\n"}'
    with pytest.raises(Invalid):
        parse_annotation("topic", "a\0b")


@pytest.mark.parametrize("key", ["", "1A", "A=B", "A B", "é", "A\0", "A\n", "A" * 254])
def test_what_is_no_environment_variable(key: str) -> None:
    with pytest.raises(Invalid):
        parse_env(key, "x")
