"""Signatures of P-256, compared with a library's."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from hilbert.watchdog.p256 import _G, _INFINITY, _N, _P, _add, _double, is_on_curve, verify

MESSAGE = b"message"
DIGEST = hashlib.sha256(MESSAGE).digest()


def test_signatures_of_a_library() -> None:
    for number in range(20):
        private, message = generate_private_key(SECP256R1()), b"%d" % number
        point = private.public_key().public_numbers()
        r, s = decode_dss_signature(private.sign(message, ECDSA(hashes.SHA256())))
        digest = hashlib.sha256(message).digest()
        assert is_on_curve(point.x, point.y)
        assert verify((point.x, point.y), digest, r, s)
        assert verify((point.x, point.y), digest, r, _N - s), "the other of the two signatures is good, too"
        for wrong in ((r ^ 1, s), (r, s ^ 1), (s, r), (r + 1, s), (_N - r, s)):
            assert not verify((point.x, point.y), digest, *wrong)
        assert not verify((point.x, point.y), hashlib.sha256(message + b"!").digest(), r, s)
        assert not verify(_G, digest, r, s)


@pytest.mark.parametrize("value", [0, _N, _N + 1, 2**256 - 1, 2**300, -1])
def test_numbers_out_of_range(value: int) -> None:
    """CVE-2022-21449: zeros that fit every message."""
    assert not verify(_G, DIGEST, value, 1)
    assert not verify(_G, DIGEST, 1, value)


def test_keys_that_are_none() -> None:
    assert is_on_curve(*_G)
    assert is_on_curve(_G[0], _P - _G[1])
    for x, y in ((0, 0), (1, 1), (_G[0], _G[1] + 1), (_G[0] + _P, _G[1]), (_G[0], _G[1] + _P), (-1, _G[1])):
        assert not is_on_curve(x, y)


def test_sums_at_the_edges() -> None:
    """Equal points, opposite ones, and the one at infinity."""
    generator = (*_G, 1)
    assert _add(generator, _INFINITY) == _add(_INFINITY, generator) == generator
    assert _add(generator, (_G[0], _P - _G[1], 1)) == _INFINITY
    assert _double(_INFINITY) == _INFINITY
    one, other = _add(generator, generator), _double(generator)
    assert one[0] * pow(one[2], -2, _P) % _P == other[0] * pow(other[2], -2, _P) % _P


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5) | st.integers(_N - 5, _N - 1) | st.integers(1, _N - 1),
    st.binary(max_size=8),
    st.integers(1, 5) | st.integers(1, _N - 1),
    st.integers(1, 5) | st.integers(1, _N - 1),
)
def test_what_a_library_says_of_any_numbers(secret: int, message: bytes, r: int, s: int) -> None:
    private = derive_private_key(secret, SECP256R1())
    point = private.public_key().public_numbers()
    good = decode_dss_signature(private.sign(message, ECDSA(hashes.SHA256())))
    assert verify((point.x, point.y), hashlib.sha256(message).digest(), *good)
    try:
        private.public_key().verify(encode_dss_signature(r, s), message, ECDSA(hashes.SHA256()))
        expected = True
    except InvalidSignature:
        expected = False
    assert verify((point.x, point.y), hashlib.sha256(message).digest(), r, s) == expected
