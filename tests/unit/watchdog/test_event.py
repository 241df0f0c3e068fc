"""What a handler gets."""

from __future__ import annotations

import json

import pytest

from hilbert.watchdog.event import Context, EnvironHeaders, Event, ImmutableMultiDict


def test_headers_are_found_in_any_case() -> None:
    """Several values are one, joined by a comma; names are printed in canonical spelling."""
    headers = EnvironHeaders([(b"x-a", b"1"), (b"X-A", b"2"), (b"content-type", b"t")])
    assert dict(headers) == {"X-A": "1, 2", "Content-Type": "t"}
    assert (headers["X-a"], headers.get("CONTENT-TYPE"), headers.get("none")) == ("1, 2", "t", None)
    assert headers.get_all("x-A") == ["1, 2"]
    assert headers.get_all("none") == []
    assert "x-a" in headers
    assert 5 not in headers
    assert len(headers) == 2


def test_headers_and_queries_answer_as_werkzeugs_do() -> None:
    """The classes whose names they have, side by side."""
    datastructures = pytest.importorskip("werkzeug.datastructures")
    raw = [(b"X-A", b"1"), (b"Content-Type", b"t")]
    environ = {"HTTP_X_A": "1", "CONTENT_TYPE": "t"}
    ours, theirs = EnvironHeaders(raw), datastructures.EnvironHeaders(environ)
    for ask in (
        lambda h: sorted(h),
        lambda h: sorted(h.keys()),
        lambda h: sorted(h.values()),
        lambda h: sorted(h.items(lower=True)),
        lambda h: (h.get("x-a", type=int), h.get("x-a", 5, type=float), h.get("z", "d"), h.getlist("X-A"), h.get(None)),
        lambda h: sorted(h.to_wsgi_list()),
        lambda h: ("x-a" in h, "z" in h, len(h), bool(h)),
    ):
        assert ask(ours) == ask(theirs)
    pairs = [("a", "1"), ("a", "x"), ("b", "")]
    query, other = ImmutableMultiDict(pairs), datastructures.ImmutableMultiDict(pairs)
    for ask in (
        repr,
        list,
        lambda q: list(q.items()),
        lambda q: list(q.items(multi=True)),
        lambda q: list(q.lists()),
        lambda q: list(q.listvalues()),
        lambda q: list(q.values()),
        lambda q: (q.to_dict(), q.to_dict(flat=False), dict(q), json.dumps(q)),
        lambda q: (q["a"], q.get("a", type=int), q.get("b", 7, type=int), q.getlist("a", type=int), q.getlist("z")),
        lambda q: q == {"a": "1", "b": ""},
    ):
        assert ask(query) == ask(other)
    for change in (
        lambda q: q.pop("a"),
        lambda q: q.update({"a": 1}),
        lambda q: q.clear(),
        lambda q: q.setdefault("z", 1),
    ):
        for one in (query, other):
            with pytest.raises(TypeError, match="immutable"):
                change(one)


def test_queries_are_dicts() -> None:
    """Decoded, blank values kept, first value first."""
    query = ImmutableMultiDict.parse("a=1&a=2&b=%C3%A4+x&c&=d&e=%FF")
    assert dict(query) == {"a": "1", "b": "ä x", "c": "", "": "d", "e": "%FF"}
    assert query.getlist("a") == ["1", "2"]
    assert dict(ImmutableMultiDict.parse("")) == {}


def test_what_is_printed() -> None:
    """No body in the log of somebody who prints an event."""
    event = Event(method="POST", path="/x", raw_query="", headers=EnvironHeaders([]), body=b"secret")
    assert repr(event) == "Event(POST /x, 6 bytes)"
    assert repr(Context(hostname="h", name="f", namespace="n")) == "Context(f.n on h)"
