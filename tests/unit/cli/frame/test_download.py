"""Documents from URLs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hilbert.cli.frame import download as module
from hilbert.cli.frame.download import fetch
from hilbert.cli.frame.failures import Failed
from hilbert.client import RedirectRefused
from hilbert.client.codec import BrokenAnswer
from support.cli import Gateway, Reply


@pytest.fixture
def server() -> Iterator[Gateway]:
    found = Gateway().start()
    found.password = None
    yield found
    found.close()


def test_a_document_through_redirects(server: Gateway) -> None:
    """Relative ones and whole ones."""
    server.script["GET", "/a"] = [Reply(302, headers={"Location": "/b?x=1"})]
    server.script["GET", "/b"] = [Reply(301, headers={"Location": f"{server.url}/c"})]
    server.script["GET", "/c"] = [Reply(200, b"here")]
    assert fetch(f"{server.url}/a", {}) == b"here"
    assert server.calls[1].query == {"x": "1"}


def test_redirects_without_end(server: Gateway) -> None:
    """Are followed a few times."""
    server.script["GET", "/a"] = [Reply(302, headers={"Location": "/a"}) for _ in range(20)]
    with pytest.raises(RedirectRefused, match="redirects"):
        fetch(f"{server.url}/a", {})


def test_a_document_that_is_not_there(server: Gateway) -> None:
    """Says the status."""
    with pytest.raises(Failed, match="answered 404"):
        fetch(f"{server.url}/nothing/x", {})


def test_a_document_without_end(server: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is not read to its end."""
    monkeypatch.setattr(module, "_MOST", 1000)
    server.script["GET", "/a"] = [Reply(200, b"x" * 1001)]
    with pytest.raises(BrokenAnswer, match="longer than 1000"):
        fetch(f"{server.url}/a", {})
