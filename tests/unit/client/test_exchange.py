"""Requests as bytes, responses from bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.client.codec import BrokenAnswer, Reply, Request, check_headers, encode_chunk, encode_head
from hilbert.client.url import parse_url
from hilbert.core.errors import Invalid

ORIGIN = parse_url("http://gateway:8080/base")


def test_a_head_has_what_a_server_needs() -> None:
    """Line, host, length."""
    request = Request(method="POST", target="/x?y=1", headers=(("A", "b"),), body=b"12345")
    head = encode_head(request, ORIGIN, extra=[("User-Agent", "u")], proxied=False)
    assert (
        head == b"POST /base/x?y=1 HTTP/1.1\r\nHost: gateway:8080\r\nUser-Agent: u\r\nA: b\r\nContent-Length: 5\r\n\r\n"
    )


def test_a_caller_s_header_wins_over_the_client_s() -> None:
    """Also its Host."""
    request = Request(method="GET", target="/", headers=(("user-agent", "mine"), ("host", "other")))
    head = encode_head(request, ORIGIN, extra=[("User-Agent", "u")], proxied=False)
    assert head == b"GET /base/ HTTP/1.1\r\nuser-agent: mine\r\nhost: other\r\n\r\n"


def test_through_a_proxy_the_whole_url_is_asked_for() -> None:
    """RFC 9112, 3.2.2."""
    head = encode_head(Request(method="GET", target="/x"), ORIGIN, extra=(), proxied=True)
    assert head.startswith(b"GET http://gateway:8080/base/x HTTP/1.1\r\n")


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\0b", "\x7f", "\u0100"])
def test_a_header_cannot_smuggle_another(value: str) -> None:
    """The value is not repeated in the message, since it may be a secret."""
    with pytest.raises(Invalid) as caught:
        check_headers([("X-Key", value)])
    assert "X-Key" in caught.value.message
    assert value not in caught.value.message


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "", "A B", "A:"])
def test_framing_and_broken_names_are_refused(name: str) -> None:
    """The framing is the client's own."""
    with pytest.raises(Invalid):
        check_headers([(name, "1")])


def test_an_answer_with_a_length() -> None:
    """Head first, body as it comes, connection kept."""
    reply = Reply("GET")
    reply.feed(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 5\r\n\r\nab")
    assert reply.head is not None
    assert (reply.head.status, reply.head.headers) == (200, {"x-a": "1, 2", "content-length": "5"})
    assert reply.take() == [b"ab"]
    assert not reply.done
    reply.feed(b"cde")
    assert reply.take() == [b"cde"]
    assert reply.done
    assert reply.keep_alive


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    """And the connection is not kept."""
    reply = Reply("GET")
    reply.feed(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab")
    assert not reply.done
    reply.feed(b"")
    assert (reply.done, reply.keep_alive, reply.take()) == (True, False, [b"ab"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
def test_a_cut_answer_is_no_answer(data: bytes) -> None:
    """Never taken for a whole one."""
    reply = Reply("GET")
    if data:
        reply.feed(data)
    with pytest.raises(BrokenAnswer, match="closed"):
        reply.feed(b"")


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x16"])
def test_what_is_not_http_is_said_to_be_none(data: bytes) -> None:
    """E.g. TLS on a port that was called without."""
    with pytest.raises(BrokenAnswer, match="not HTTP"):
        Reply("GET").feed(data)


def test_an_interim_answer_is_passed_over() -> None:
    """100 Continue comes before the real one."""
    reply = Reply("POST")
    reply.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
    assert reply.head is not None
    assert reply.head.status == 204
    assert reply.done


def test_an_answer_to_head_has_no_body() -> None:
    """Whatever its length says."""
    reply = Reply("HEAD")
    reply.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert reply.done


def test_endless_headers_are_refused() -> None:
    """A gateway cannot fill the caller's memory with them."""
    reply = Reply("GET")
    reply.feed(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(BrokenAnswer, match="longer than"):
        reply.feed((b"X-Fill: " + b"a" * 1000 + b"\r\n") * 400)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.integers(1, 7))
def test_chunks_come_back_as_they_went(pieces: list[bytes], step: int) -> None:
    """However the bytes are cut on their way."""
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    data += b"".join(encode_chunk(piece) for piece in pieces) + encode_chunk(b"")
    reply = Reply("GET")
    for start in range(0, len(data), step):
        reply.feed(data[start : start + step])
    assert b"".join(reply.take()) == b"".join(pieces)
    assert reply.done


@given(st.binary(max_size=300))
def test_no_bytes_make_the_parser_fail_otherwise(data: bytes) -> None:
    """Either it is an answer or it is `BrokenAnswer`."""
    reply = Reply("GET")
    try:
        if data:
            reply.feed(b"HTTP/1.1 " + data)
        reply.feed(b"")
    except BrokenAnswer:
        return
    assert reply.done
