"""Checks signatures of the curve P-256 (ECDSA, FIPS 186-5, section 6.4.2), in plain Python.

A library would have to be in every image, and would stand in the way of the function's own version of it: a Python handler
shares this interpreter. Only public numbers are worked with, so the time that it takes tells nobody anything.
"""

from __future__ import annotations

from typing import Final

_P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_G: Final = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

_Point = tuple[int, int, int]
"""In Jacobian coordinates: (x / z**2, y / z**3). With a z of 0 it is the point at infinity."""
_INFINITY: Final[_Point] = (1, 1, 0)


def is_on_curve(x: int, y: int) -> bool:
    """Whether a public key can be one."""
    return 0 <= x < _P and 0 <= y < _P and (y * y - (x * x * x - 3 * x + _B)) % _P == 0


def verify(key: tuple[int, int], digest: bytes, r: int, s: int) -> bool:
    """Whether (r, s) signs a SHA-256 digest. The key must be on the curve."""
    if not (0 < r < _N and 0 < s < _N):
        return False
    inverse = pow(s, -1, _N)
    first, second = int.from_bytes(digest, "big") * inverse % _N, r * inverse % _N
    generator, own = (*_G, 1), (*key, 1)
    # Both products in one pass over the bits (Shamir's trick).
    added = (_INFINITY, generator, own, _add(generator, own))
    total = _INFINITY
    for bit in range(255, -1, -1):
        total = _double(total)
        chosen = (first >> bit & 1) | (second >> bit & 1) << 1
        if chosen:
            total = _add(total, added[chosen])
    x, _, z = total
    return bool(z) and x * pow(z, -2, _P) % _P % _N == r


def _double(point: _Point) -> _Point:
    """dbl-2001-b of the Explicit-Formulas Database, for curves with a = -3."""
    x, y, z = point
    if not z:
        return point
    delta, gamma = z * z % _P, y * y % _P
    beta, alpha = x * gamma % _P, 3 * (x - delta) * (x + delta) % _P
    tripled = (alpha * alpha - 8 * beta) % _P
    return tripled, (alpha * (4 * beta - tripled) - 8 * gamma * gamma) % _P, ((y + z) ** 2 - gamma - delta) % _P


def _add(one: _Point, other: _Point) -> _Point:
    """add-2007-bl of the same."""
    (x1, y1, z1), (x2, y2, z2) = one, other
    if not z1:
        return other
    if not z2:
        return one
    square1, square2 = z1 * z1 % _P, z2 * z2 % _P
    u1, u2 = x1 * square2 % _P, x2 * square1 % _P
    s1, s2 = y1 * z2 * square2 % _P, y2 * z1 * square1 % _P
    if u1 == u2:
        return _double(one) if s1 == s2 else _INFINITY
    h = (u2 - u1) % _P
    i = 4 * h * h % _P
    j, r, v = h * i % _P, 2 * (s2 - s1) % _P, u1 * i % _P
    x = (r * r - j - 2 * v) % _P
    return x, (r * (v - x) - 2 * s1 * j) % _P, ((z1 + z2) ** 2 - square1 - square2) * h % _P
