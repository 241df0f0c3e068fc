"""Tokens that nobody signed, or not for us, or not in one meaning: none is believed (RFC 8725; CVE-2015-9235 and its kin)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from attack.token.conftest import Gate
from hilbert.iam.federation import MAX_ISSUED, Refused
from hilbert.iam.jose import LEEWAY, MAX_DEPTH, MAX_KEYS, MAX_KID, MAX_TOKEN, BadToken, read_keys, take_apart
from support.api import URL
from support.issuer import AUDIENCE, NOW, Issuer, Key, encoded, issuer_object, policy_object, role_object

pytestmark = pytest.mark.anyio


async def refused(gate: Gate, token: str, words: str = "") -> None:
    """Neither exchanged nor let in."""
    with pytest.raises(Refused) as caught:
        await gate.exchange(token)
    assert words in caught.value.message
    with pytest.raises(BadToken):
        gate.federation.identify(token)


async def test_the_honest_token_is_believed(gate: Gate) -> None:
    """Or else nothing below would show anything."""
    granted = await gate.exchange(gate.issuer.token())
    assert gate.federation.identify(granted.access_token).grants


# Signatures.


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", ""])
async def test_no_signature(gate: Gate, alg: str) -> None:
    claims = encoded(gate.issuer.claims())
    for signature in ("", gate.issuer.token().rpartition(".")[2]):
        header = encoded({"alg": alg, "kid": "one"})
        await refused(gate, f"{header}.{claims}.{signature}")


@pytest.mark.parametrize("kind", ["ES256", "RS256"])
async def test_a_public_key_used_as_a_shared_secret(gate: Gate, kind: str) -> None:
    """CVE-2015-9235, CVE-2026-48526: HMAC with what everybody can read."""
    key = gate.issuer.keys[0] = Key("one", kind)
    public = key.private.public_key()
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(key.jwk()).encode(),
        b"",
    ):
        for alg, digest in (("HS256", hashlib.sha256), ("HS384", hashlib.sha384), ("HS512", hashlib.sha512)):
            text = f"{encoded({'alg': alg, 'kid': 'one'})}.{encoded(gate.issuer.claims())}"
            signature = hmac.new(secret, text.encode(), digest).digest()
            await refused(gate, f"{text}.{encoded(signature)}", "algorithm")


async def test_another_algorithm_than_the_keys(gate: Gate) -> None:
    for alg in ("ES384", "RS256", "PS256", "EdDSA", "HS256", "ES256K", "es256"):
        await refused(gate, gate.issuer.token(header={"alg": alg}), "algorithm")


async def test_a_signature_of_nothing(gate: Gate) -> None:
    """CVE-2022-21449: zeros are no signature; nor is another token's."""
    head, claims, signature = gate.issuer.token().split(".")
    for wrong in ("", encoded(bytes(64)), encoded(b"\xff" * 64), signature[:-4] + "AAAA", encoded(b"x" * 200)):
        await refused(gate, f"{head}.{claims}.{wrong}")
    other = encoded(gate.issuer.claims(sub="bob"))
    await refused(gate, f"{head}.{other}.{signature}", "signature")


@pytest.mark.parametrize("header", ["jku", "x5u", "jwk", "x5c", "x5t"])
async def test_keys_that_the_token_brings(gate: Gate, header: str) -> None:
    """CVE-2018-0114: a token says nothing of who may have signed it."""
    mine = Key("one")
    value: Any = {"jwk": mine.jwk(), "x5c": ["MIIB"]}.get(header, "https://evil.example.com/keys")
    await refused(gate, gate.issuer.token(key=mine, header={header: value}), "signature")
    await refused(gate, gate.issuer.token(key=mine, header={header: value, "kid": None}))
    assert all("evil" not in url for url in gate.issuer.fetched)


@pytest.mark.parametrize(
    "kid",
    ["../../../../dev/null", "/etc/passwd", "' UNION SELECT 'x", "one\0", "ONE", "one ", "", "x" * MAX_KID, "https://evil.example.com"],
)  # fmt: skip
async def test_key_ids_that_are_paths_or_queries(gate: Gate, kid: str) -> None:
    await refused(gate, gate.issuer.token(header={"kid": kid}))


@pytest.mark.bound("token-key-id")
@pytest.mark.parametrize("kid", [1, None, ["one"], {"kid": "one"}, True, "x" * (MAX_KID + 1)])
async def test_key_ids_that_are_none(gate: Gate, kid: Any) -> None:
    gate.issuer.keys.append(Key("two"))
    await refused(gate, gate.issuer.token(header={"kid": kid}))


async def test_a_key_of_another_issuer(gate: Gate) -> None:
    other = Issuer("https://other.example.com", Key("one"))
    await refused(gate, gate.issuer.token(key=other.keys[0]), "signature")
    await refused(gate, other.token(), "not trusted")


async def test_demands_that_are_not_understood(gate: Gate) -> None:
    """CVE-2026-32597, CVE-2025-59420 (Authlib): `crit` must not be passed over."""
    for header in ({"crit": ["exp"], "exp": 0}, {"crit": []}, {"b64": False}, {"zip": "DEF"}, {"enc": "A256GCM"}):
        await refused(gate, gate.issuer.token(header=header))


# Who it is from, and for.


@pytest.mark.parametrize(
    "iss",
    ["https://id.example.com/", "https://ID.example.com", "https://id.example.com.evil.com", "https://id.example.co",
     "http://id.example.com", "https://id.example.com:443", " https://id.example.com", "https://id.example.com\u200b",
     "https://\uff49d.example.com", "https://id.example.com#", "", None, 1, ["https://id.example.com"], URL],
)  # fmt: skip
async def test_issuers_that_are_nearly_the_right_one(gate: Gate, iss: Any) -> None:
    await refused(gate, gate.issuer.token(iss=iss))


@pytest.mark.parametrize(
    "aud",
    [None, "", [], "account", ["account"], AUDIENCE + "/", AUDIENCE.upper(), "https://gateway.example.co", [[AUDIENCE]],
     {"aud": AUDIENCE}, [AUDIENCE, 1], [AUDIENCE, None], True, "dev:f", "*"],
)  # fmt: skip
async def test_tokens_for_somebody_else(gate: Gate, aud: Any) -> None:
    """CVE-2025-62610 (Hono): nobody looked whom a token was for."""
    await refused(gate, gate.issuer.token(aud=aud), "aud")


async def test_a_token_for_several(gate: Gate) -> None:
    assert (await gate.exchange(gate.issuer.token(aud=["other", AUDIENCE]))).subject == "fed:alice"


async def test_the_same_subject_of_another_issuer(gate: Gate) -> None:
    """One that is trusted for something else is not trusted as `alice` of the first, where the role says which."""
    other = Issuer("https://other.example.com")
    both = {**gate.issuer.documents}
    for one in (gate.issuer, other):
        for url in (one.iss + "/.well-known/openid-configuration", one.jwks_uri):
            both[url] = await one.fetch(url, frozenset())
    gate.issuer.documents = both
    gate.replace(
        issuer_object(gate.issuer),
        issuer_object(other, "other"),
        policy_object("p", ["dev:*"], ["Function:*"]),
        role_object(
            "r", ["p"], principal={"jwt:sub": ["alice"]}, condition={"StringEqual": {"jwt:iss": [gate.issuer.iss]}}
        ),
    )
    mine = gate.federation.identify((await gate.exchange(gate.issuer.token())).access_token)
    with pytest.raises(Refused, match="No policies"):
        await gate.exchange(other.token())
    gate.replace(
        issuer_object(gate.issuer),
        issuer_object(other, "other"),
        policy_object("p", ["dev:*"], ["Function:*"]),
        role_object("r", ["p"], principal={"jwt:sub": ["alice"]}),
    )
    theirs = gate.federation.identify((await gate.exchange(other.token())).access_token)
    assert mine.identity != theirs.identity


async def test_a_subject_that_is_none(gate: Gate) -> None:
    for sub in (None, "", 7, ["alice"], {"sub": "alice"}, "x" * 1025):
        await refused(gate, gate.issuer.token(sub=sub), "sub")
    for sub in ("fed:alice", "Alice", "alice ", "alice\0"):
        await refused(gate, gate.issuer.token(sub=sub), "No policies")


async def test_claims_that_only_we_may_make(gate: Gate) -> None:
    """A provider's user who can choose claims gets no rights by them."""
    token = gate.issuer.token(
        **{
            "policy": ["root", "p"],
            "function": {"permissions": ["*"]},
            "fed:iss": URL,
            "fed:sub": "x",
            "fed:aud": "y",
            "jti": "z",
        }
    )
    text = (await gate.exchange(token)).access_token
    claims = take_apart(text).claims
    assert claims["policy"] == ["p"]
    assert claims["fed:iss"] == gate.issuer.iss
    assert claims["jti"] != "z"
    assert not {"function", "fed:sub"} & set(claims)
    assert [grant.resources for grant in gate.federation.identify(text).grants] == [("dev:*",)]


async def test_our_own_tokens_are_not_exchanged_for_more(gate: Gate) -> None:
    ours = (await gate.exchange(gate.issuer.token())).access_token
    with pytest.raises(Refused, match="already"):
        await gate.exchange(ours)
    gate.replace(issuer_object(Issuer(URL), "system"), *[])
    with pytest.raises(Refused, match="already"):
        await gate.exchange(ours)


async def test_tokens_of_ours_that_are_not_for_the_api(gate: Gate) -> None:
    """API and functions do not take each other's tokens, and another gateway's are nobody's."""
    good = dict(take_apart((await gate.exchange(gate.issuer.token())).access_token).claims)
    assert gate.federation.identify(gate.federation.ring.sign(good)).grants
    for change in (
        {"function": {"permissions": ["*"]}}, {"policy": None}, {"policy": "p"}, {"aud": "https://other.example.com"}, {"aud": None},
        {"iss": "https://other.example.com"}, {"sub": "alice"}, {"sub": None}, {"fed:iss": None}, {"fed:iss": "https://x.example.com"},
        {"exp": None},
    ):  # fmt: skip
        claims = {name: value for name, value in {**good, **change}.items() if value is not None}
        with pytest.raises(BadToken):
            gate.federation.identify(gate.federation.ring.sign(claims))
    header = {"kid": take_apart(gate.federation.ring.sign(good)).kid}
    with pytest.raises(BadToken):
        gate.federation.identify(jwt.encode(good, ec.generate_private_key(ec.SECP256R1()), "ES256", headers=header))


# Times.


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"exp": None}, "never ends"), ({"exp": str(int(NOW) + 60)}, "exp"), ({"exp": True}, "exp"), ({"exp": 1e300}, "exp"),
        ({"exp": -1}, "exp"), ({"exp": [NOW]}, "exp"), ({"exp": int(NOW - LEEWAY)}, "expired"), ({"exp": 0}, "expired"),
        ({"nbf": int(NOW + LEEWAY + 1)}, "future"), ({"iat": int(NOW + LEEWAY + 1)}, "future"), ({"nbf": "now"}, "nbf"),
        ({"iat": {}}, "iat"),
    ],
)  # fmt: skip
async def test_times(gate: Gate, claims: dict[str, Any], words: str) -> None:
    await refused(gate, gate.issuer.token(**claims), words)


async def test_clocks_may_differ_a_little(gate: Gate) -> None:
    for claims in (
        {"exp": int(NOW - LEEWAY + 1)},
        {"nbf": int(NOW + LEEWAY)},
        {"iat": int(NOW + LEEWAY)},
        {"exp": NOW + 0.5},
    ):
        assert await gate.exchange(gate.issuer.token(**claims))


async def test_a_null_is_no_time(gate: Gate) -> None:
    for name in ("exp", "nbf", "iat"):
        text = json.dumps({**gate.issuer.claims(), name: None}).encode()
        await refused(gate, gate.issuer.signed(encoded({"alg": "ES256", "kid": "one"}), encoded(text)), name)


# Texts that two readers could read in two ways, or never finish reading.

CLAIMS = json.dumps(Issuer().claims())
HEADER = {"alg": "ES256", "kid": "one"}


@pytest.mark.parametrize(
    "claims",
    [
        CLAIMS.replace("{", '{"sub": "bob", ', 1), CLAIMS.replace("{", '{"exp": 0, ', 1), CLAIMS.replace("{", '{"x": NaN, ', 1),
        CLAIMS.replace("{", '{"x": Infinity, ', 1), CLAIMS.replace("{", '{"x": {"a": 1, "a": 2}, ', 1), CLAIMS + "{}", f"[{CLAIMS}]",
        "null", "1", '"x"', "", "{", CLAIMS.replace("{", '{"x": ' + "9" * 5000 + ", ", 1), "\ufeff" + CLAIMS,
    ],
)  # fmt: skip
async def test_ambiguous_claims(gate: Gate, claims: str) -> None:
    await refused(gate, gate.issuer.signed(encoded(HEADER), encoded(claims.encode())))


async def test_ambiguous_headers(gate: Gate) -> None:
    for header in ('{"alg": "ES256", "alg": "none", "kid": "one"}', '{"alg": "none", "alg": "ES256", "kid": "one"}',
                   '["ES256"]', "{}", '{"alg": 1, "kid": "one"}', '{"alg": null}'):  # fmt: skip
        await refused(gate, gate.issuer.signed(encoded(header.encode()), encoded(gate.issuer.claims())))


async def test_not_utf_8(gate: Gate) -> None:
    await refused(gate, gate.issuer.signed(encoded(HEADER), encoded(CLAIMS.encode().replace(b"alice", b"\xff"))))
    await refused(gate, gate.issuer.signed(encoded(HEADER), encoded(CLAIMS.encode("utf-16"))))


async def test_other_spellings_of_one_token(gate: Gate) -> None:
    """One token has one text: what a list of refused ones names must not come back in another spelling."""
    head, claims, signature = gate.issuer.token().split(".")
    last = signature[-1]
    twin = next(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c != last)
    for other in (
        f"{head}.{claims}.{signature}==", f"{head}=.{claims}.{signature}", f"{head}.{claims}.{signature[:-1]}{twin}",
        f" {head}.{claims}.{signature}", f"{head}.{claims}.{signature}\n", f"{head}.{claims}", f"{head}.{claims}.{signature}.",
        f"{head}.{claims}.{signature}.x", f"{head}.\u0131.{signature}", base64.b64encode(b"\xfb\xff").decode() + f".{claims}.{signature}",
        "..", "...", "a.b.c", "",
    ):  # fmt: skip
        await refused(gate, other)


@pytest.mark.bound("token-bytes")
async def test_huge_tokens(gate: Gate) -> None:
    await refused(gate, gate.issuer.token(x="y" * MAX_TOKEN), "longer than")
    await refused(gate, "e" * 10_000_000 + ".e.e", "longer than")


@pytest.mark.bound("issued-token-bytes")
async def test_claims_that_do_not_fit_into_a_header(gate: Gate) -> None:
    with pytest.raises(Refused, match=f"longer than {MAX_ISSUED} bytes"):
        await gate.exchange(gate.issuer.token(groups=["g" * 60] * 120))


@pytest.mark.bound("token-depth")
async def test_deep_tokens(gate: Gate) -> None:
    for depth in (MAX_DEPTH, 5000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            claims = CLAIMS.replace("{", f'{{"x": {opening * depth}1{closing * depth}, ', 1)
            if len(claims) < 12_000:
                await refused(gate, gate.issuer.signed(encoded(HEADER), encoded(claims.encode())))
    deep = CLAIMS.replace("{", f'{{"x": {"[" * (MAX_DEPTH - 1)}{"]" * (MAX_DEPTH - 1)}, ', 1)
    assert await gate.exchange(gate.issuer.signed(encoded(HEADER), encoded(deep.encode())))


# Key sets that are none, or weak.


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"keys": {}}',
        b'{"keys": "x"}',
        b"\xff",
        b'{"keys": []',
        b'{"keys": [], "keys": []}',
    ],
)
def test_documents_that_are_no_key_set(document: bytes) -> None:
    with pytest.raises(BadToken):
        read_keys(document)


@pytest.mark.bound("issuer-keys")
def test_too_many_keys_and_two_with_one_id() -> None:
    key = Key("one").jwk()
    for keys in (
        [{**key, "kid": str(number)} for number in range(MAX_KEYS + 1)],
        [key, Key("one").jwk()],
        [{**key, "kid": 1}],
    ):
        with pytest.raises(BadToken):
            read_keys(json.dumps({"keys": keys}).encode())


def test_keys_that_cannot_or_must_not_verify_are_passed_over() -> None:
    good = Key("good")
    weak = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key()))
    private = json.loads(ECAlgorithm.to_jwk(Key("x").private))
    odd: list[Any] = [
        {"kty": "oct", "kid": "oct", "k": "c2VjcmV0"}, {**Key("enc").jwk(), "use": "enc"}, {**Key("ops").jwk(), "key_ops": ["sign"]},
        {**weak, "kid": "weak"}, {**private, "kid": "private"}, {**Key("alg").jwk(), "alg": "HS256"}, {**Key("crv").jwk(), "crv": "P-999"},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "off"}, {"kid": "empty"}, None, 7, "x",
    ]  # fmt: skip
    found = read_keys(json.dumps({"keys": [*odd, good.jwk()]}).encode())
    assert set(found) == {"good"}


# Floods.


@pytest.mark.bound("unknown-key-ids")
async def test_a_flood_of_unknown_key_ids_asks_the_issuer_once_a_minute(gate: Gate) -> None:
    """CVE-2026-48524 (PyJWT): each asked anew."""
    await gate.exchange(gate.issuer.token())
    asked = len(gate.issuer.fetched)
    for number in range(200):
        with pytest.raises(Refused):
            await gate.exchange(gate.issuer.token(header={"kid": f"k{number}"}))
    assert len(gate.issuer.fetched) == asked
    for minute in range(1, 4):
        gate.now += 61
        for number in range(50):
            with pytest.raises(Refused):
                await gate.exchange(gate.issuer.token(header={"kid": f"k{number}"}))
        assert len(gate.issuer.fetched) == asked + 2 * minute
    assert await gate.exchange(gate.issuer.token())


async def test_an_issuer_that_is_away_is_not_asked_by_every_token(gate: Gate) -> None:
    gate.issuer.down = True
    for _ in range(200):
        with pytest.raises(Refused, match="cannot be asked"):
            await gate.exchange(gate.issuer.token())
    assert len(gate.issuer.fetched) == 1


async def test_forged_tokens_make_the_gateway_ask_nobody(gate: Gate) -> None:
    """CVE-2026-32301 (Centrifugo): a forged claim said where keys were fetched."""
    await gate.exchange(gate.issuer.token())
    asked = len(gate.issuer.fetched)
    for number in range(300):
        with pytest.raises(BadToken):
            gate.federation.identify(gate.issuer.token(sub=f"s{number}", iss=URL))
    assert len(gate.issuer.fetched) == asked
