"""What a handler gets."""

from __future__ import annotations

from hilbert.watchdog.event import Context, Event, Headers, Query


def test_headers_are_a_mapping() -> None:
    """In any case, first value first, printed in canonical spelling."""
    headers = Headers([(b"x-a", b"1"), (b"X-A", b"2"), (b"content-type", b"t")])
    assert dict(headers) == {"X-A": "1", "Content-Type": "t"}
    assert (headers["X-a"], headers.get("CONTENT-TYPE"), headers.get("none")) == ("1", "t", None)
    assert headers.get_all("x-A") == ["1", "2"]
    assert headers.get_all("none") == []
    assert "x-a" in headers
    assert 5 not in headers
    assert len(headers) == 2


def test_queries_are_dicts() -> None:
    """Decoded, blank values kept, first value first."""
    query = Query("a=1&a=2&b=%C3%A4+x&c&=d")
    assert query == {"a": "1", "b": "ä x", "c": "", "": "d"}
    assert query.getlist("a") == ["1", "2"]
    assert query.getlist("z") == []
    assert Query("") == {}


def test_what_is_printed() -> None:
    """No body in the log of somebody who prints an event."""
    event = Event(method="POST", path="/x", raw_query="", headers=Headers([]), body=b"secret")
    assert repr(event) == "Event(POST /x, 6 bytes)"
    assert repr(Context(hostname="h", name="f", namespace="n")) == "Context(f.n on h)"
