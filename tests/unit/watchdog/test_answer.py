"""From a handler's value to a response; what a whole watchdog does not show."""

from __future__ import annotations

import pytest

from hilbert.watchdog import answer
from hilbert.watchdog.answer import AnswerError, to_answer, to_chunk


@pytest.mark.parametrize("value", [("x", 200, {}, 1), ("x",), (), ("x", "later", {})])
def test_tuples_that_are_no_response(value: object) -> None:
    """Their shape is not one of Flask's."""
    with pytest.raises(AnswerError):
        to_answer(value)


@pytest.mark.parametrize("status", [0, 100, 199, 1000, -1, "ok", True, 2.5])
def test_statuses_that_are_none(status: object) -> None:
    """Interim statuses are not an answer either."""
    with pytest.raises(AnswerError, match="statusCode"):
        to_answer({"statusCode": status})


@pytest.mark.parametrize("text", ["a\r\nb", "a\nb", "a\0b", b"a\rb"])
def test_headers_cannot_be_split(text: object) -> None:
    """Neither in a name nor in a value."""
    for headers in ({"X": text}, {text: "x"}, [("X", text)]):
        with pytest.raises(AnswerError):
            to_answer({"headers": headers})


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ä", "Connection ", "(x)"])
def test_names_that_are_no_header_names(name: str) -> None:
    """RFC 9110's token, or nothing."""
    with pytest.raises(AnswerError, match="is not a header name"):
        to_answer({"headers": {name: "x"}})


def test_chunks() -> None:
    """Text and bytes of any kind."""
    assert [to_chunk(item) for item in ("ä", b"b", bytearray(b"c"), memoryview(b"d"))] == [
        "ä".encode(),
        b"b",
        b"c",
        b"d",
    ]
    with pytest.raises(AnswerError, match="not int"):
        to_chunk(5)


def test_header_values_of_other_types() -> None:
    """Numbers are written out, bytes are taken as they are, text is Latin-1 where that holds it, else UTF-8."""
    answer = to_answer({"headers": {"A": 1, b"B": b"2", "C": "ä", "D": "✓", "Content-Type": "t"}})
    assert answer.headers[:4] == [(b"A", b"1"), (b"B", b"2"), (b"C", b"\xe4"), (b"D", "✓".encode())]


def test_names_of_headers_are_remembered_within_a_bound() -> None:
    """And what stands for one is the same the second time."""
    for _ in range(2):
        made = [to_answer({"statusCode": 200, "headers": {f"X-{number}": "1"}}).headers[0] for number in range(3000)]
        assert made == [(f"X-{number}".encode(), b"1") for number in range(3000)]
    assert len(answer._names) <= 1000
