"""Operators, keys and values of conditions: a table, what holds for any pattern, and hostile ones."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.iam.conditions import is_like, meets

CLAIMS = {
    "iss": "https://id.example.com", "sub": "alice", "email": "Alice@Example.com", "email_verified": True, "id": 7,
    "groups": ["staff", "admins"], "nested": {"a": "b"}, "nothing": None, "pi": 3.0, "mixed": ["x", 1, None],
}  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({}, True),
        ({"StringEqual": {"jwt:sub": ("alice",)}}, True),
        ({"StringEquals": {"jwt:sub": ("bob", "alice")}}, True),
        ({"StringEqual": {"jwt:sub": ("Alice",)}}, False),
        ({"StringEqual": {"jwt:sub": ("ali*",)}}, False),
        ({"StringEqual": {"jwt:absent": ("alice",)}}, False),
        ({"StringEqual": {"jwt:sub": ("alice",), "jwt:iss": ("https://other",)}}, False),
        ({"StringEqual": {"jwt:sub": ("alice",)}, "StringLike": {"jwt:iss": ("https://*",)}}, True),
        ({"StringEqual": {"jwt:sub": ("alice",)}, "StringLike": {"jwt:iss": ("http://*",)}}, False),
        ({"StringEqualIgnoreCase": {"jwt:email": ("alice@EXAMPLE.com",)}}, True),
        ({"StringEqualIgnoreCase": {"jwt:email": ("alice@example.org",)}}, False),
        ({"StringEqual": {"jwt:email_verified": ("true",)}}, True),
        ({"StringEqual": {"jwt:email_verified": ("True",)}}, False),
        ({"StringEqual": {"jwt:id": ("7",)}}, True),
        ({"StringEqual": {"jwt:pi": ("3.0",)}}, False),
        ({"StringEqual": {"jwt:nothing": ("None", "null", "")}}, False),
        ({"StringLike": {"jwt:nested": ("*",)}}, False),
        ({"StringLike": {"jwt:groups": ("*",)}}, False),
        ({"StringEqual": {"jwt:groups": ("staff",)}}, False),
        ({"ForAnyValue:StringEqual": {"jwt:groups": ("staff",)}}, True),
        ({"ForAnyValue:StringEqual": {"jwt:groups": ("guests", "admins")}}, True),
        ({"ForAnyValue:StringEqual": {"jwt:groups": ("guests",)}}, False),
        ({"ForAnyValue:StringEqual": {"jwt:sub": ("alice",)}}, False),
        ({"ForAnyValue:StringEqual": {"jwt:sub": ("a",)}}, False),
        ({"ForAnyValue:StringLike": {"jwt:groups": ("adm*",)}}, True),
        ({"ForAnyValue:StringEqual": {"jwt:mixed": ("1",)}}, True),
        ({"ForAnyValue:StringEqual": {"jwt:mixed": ("None",)}}, False),
        ({"StringNotEqual": {"jwt:sub": ("bob",)}}, False),
    ],
)
def test_conditions(condition: dict[str, dict[str, tuple[str, ...]]], holds: bool) -> None:
    assert meets(condition, CLAIMS) is holds


def test_letters_that_only_look_alike_are_others() -> None:
    for mine, theirs in (("kate", "\u212aate"), ("straße", "strasse"), ("i", "\u0130"), ("a", "\u0430")):
        assert not meets({"StringEqualIgnoreCase": {"jwt:sub": (mine,)}}, {"sub": theirs})


@pytest.mark.parametrize(
    ("pattern", "text", "like"),
    [
        ("*", "", True), ("*", "x", True), ("", "", True), ("", "x", False), ("a*", "a", True), ("*a", "ba", True),
        ("a*a", "a", False), ("a*a", "aa", True), ("a*b*c", "abc", True), ("a*b*c", "acb", False), ("a*bc*c", "abc", False),
        ("dev.*", "devx", False), ("dev.*", "dev.x", True), ("[a-z]", "a", False), ("a?", "ab", False), ("(a|b)", "a", False),
        ("repo:acme/*", "repo:acme/x:ref:refs/heads/main", True), ("repo:acme/*", "repo:acme@1/x@2:ref:y", False),
        ("repo:acme/*", "xrepo:acme/x", False), ("*:main", "repo:main\n", False), ("**", "x", True), ("a**b", "ab", True),
    ],
)  # fmt: skip
def test_patterns(pattern: str, text: str, like: bool) -> None:
    assert is_like(pattern, text) is like


@given(st.text("ab*.", max_size=8), st.text("ab.", max_size=10))
def test_a_pattern_means_what_it_means_as_an_anchored_expression(pattern: str, text: str) -> None:
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    assert is_like(pattern, text) is bool(re.fullmatch(expression, text, re.DOTALL))


def test_a_hostile_pattern_takes_no_longer_than_its_length_says() -> None:
    """A backtracking matcher would need longer than the age of the universe, and the test would be ended."""
    assert not is_like("*a" * 500 + "b", "a" * 8000)
