"""Single sign-on over the REST API: objects applied, tokens exchanged, used, and worthless once what they stand on is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from hilbert.api.oauth import MAX_FORM
from hilbert.iam import federation
from hilbert.iam.federation import EXCHANGE, ID_TOKEN
from hilbert.iam.guesses import BURST
from hilbert.iam.issuer_keys import ASKED_EVERY, FRESH, USED_FOR
from hilbert.iam.jose import audiences, take_apart
from hilbert.iam.signing import KEPT_AFTER, PUBLISHED_BEFORE
from support.api import URL, Answer, Api, running
from support.issuer import NOW, Issuer, Key, issuer_object, manifest, policy_object, role_object

pytestmark = pytest.mark.anyio

POLICY = policy_object("dev-rw", ["dev:*"], ["Function:*", "Namespace:List", "Namespace:Get"])
ROLE = role_object("staff", ["dev-rw"], condition={"ForAnyValue:StringEqual": {"jwt:groups": ["staff"]}})


async def until(met: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not met():
            await asyncio.sleep(0.001)


class Signed:
    """A gateway that trusts one provider, with a clock that tests turn."""

    def __init__(self, api: Api, issuer: Issuer) -> None:
        self.api, self.issuer = api, issuer
        self.now = NOW

    async def forget_keys(self) -> None:
        """As if nobody had asked for the provider's keys yet, which the apply of an issuer does beside it."""
        await until(lambda: self.issuer.jwks_uri in self.issuer.fetched)
        await asyncio.sleep(0)
        self.api.services.federation.keys.prepare([])
        self.issuer.fetched.clear()

    async def apply(self, *documents: dict[str, Any], query: str = "") -> Answer:
        return await self.api.call("PUT", f"/system/iam{query}", {"documents": documents})

    async def exchange(self, token: str, *, query: bool = False, source: str = "192.0.2.1", **more: Any) -> Answer:
        form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ID_TOKEN, **more}
        text = urlencode({name: value for name, value in form.items() if value is not None}, doseq=True)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-For": source}
        target, body = (f"/oauth/token?{text}", b"") if query else ("/oauth/token", text.encode())
        return await self.api.call("POST", target, body, user="", headers=headers)

    async def signed_in(self, token: str) -> str:
        answer = await self.exchange(token)
        assert answer.status == 200, answer.text
        return str(answer.json["access_token"])

    async def ask(self, token: str, method: str, target: str, body: object = None) -> Answer:
        return await self.api.call(method, target, body, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
async def signed() -> AsyncIterator[Signed]:
    issuer = Issuer()
    made: list[Signed] = []
    async with running(fetch=issuer.fetch, clock=lambda: made[0].now if made else NOW) as api:
        made.append(Signed(api, issuer))
        await api.call("POST", "/system/namespace/", {"name": "dev", "labels": {"openfaas": "1"}})
        await api.call("POST", "/system/functions?namespace=dev", {"service": "f", "image": "i"})
        assert (await made[0].apply(issuer_object(issuer), POLICY, ROLE)).status == 200
        await made[0].forget_keys()
        yield made[0]


async def test_a_token_is_exchanged_and_used(signed: Signed) -> None:
    answer = await signed.exchange(signed.issuer.token(groups=["staff", "x"], email="a@example.com", nonce="n"))
    assert answer.status == 200
    assert set(answer.json) == {"access_token", "issued_token_type", "token_type", "expires_in"}
    assert (answer.json["expires_in"], answer.json["token_type"]) == (1800, "Bearer")
    assert (answer.headers["cache-control"], answer.headers["content-type"]) == ("no-store", "application/json")
    token = take_apart(answer.json["access_token"])
    assert (token.header["alg"], bool(token.kid)) == ("ES256", True)
    claims = token.claims
    assert (claims["iss"], audiences(claims), claims["sub"]) == (URL, {URL}, "fed:alice")
    assert (claims["fed:iss"], claims["policy"], claims["email"]) == (signed.issuer.iss, ["dev-rw"], "a@example.com")
    assert (claims["iat"], claims["exp"]) == (int(NOW), int(NOW) + 1800)

    text = answer.json["access_token"]
    assert [one["name"] for one in (await signed.ask(text, "GET", "/system/functions?namespace=dev")).json] == ["f"]
    assert (await signed.ask(text, "GET", "/system/namespaces")).json == ["dev"]
    assert (await signed.ask(text, "GET", "/system/secrets?namespace=dev")).status == 403
    assert (await signed.ask(text, "GET", "/system/functions")).text == "namespace not valid\n"
    who = (await signed.ask(text, "GET", "/system/whoami")).json
    assert who["identity"] == f"{signed.issuer.iss}|alice"
    assert set(who["rights"]) == {"dev:*"}
    assert "fed:alice" in str(who["claims"])


async def test_the_form_may_be_the_query_and_other_types_are_taken(signed: Signed) -> None:
    token = signed.issuer.token(groups=["staff"])
    assert (await signed.exchange(token, query=True)).status == 200
    for kind in ("jwt", "access_token", "id_token"):
        named = f"urn:ietf:params:oauth:token-type:{kind}"
        assert (await signed.exchange(token, subject_token_type=named, requested_token_type=named)).status == 200


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": None}, "unsupported_grant_type"),
        ({"subject_token": None}, "invalid_request"),
        ({"subject_token": "x"}, "invalid_request"),
        ({"subject_token_type": None}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"scope": ["function", "function"]}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"grant_type": [EXCHANGE, EXCHANGE]}, "invalid_request"),
    ],
)
async def test_wrong_requests_are_refused_in_oauths_words(signed: Signed, change: dict[str, Any], error: str) -> None:
    answer = await signed.exchange(signed.issuer.token(groups=["staff"]), **change)
    assert (answer.status, answer.json["error"]) == (400, error)
    assert answer.json["error_description"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.bound("exchange-form")
async def test_a_form_that_is_too_large(signed: Signed) -> None:
    token = signed.issuer.token(groups=["staff"])
    for form in ({"x": "y" * MAX_FORM}, {f"f{number}": "" for number in range(70)}):
        answer = await signed.exchange(token, **form)
        assert (answer.status, answer.json["error"]) == (400, "invalid_request")


@pytest.mark.bound("refused-exchanges")
async def test_whoever_brings_many_bad_tokens_has_to_wait_and_nobody_else(signed: Signed) -> None:
    statuses = [(await signed.exchange("ey.x.y", source="192.0.2.7")).status for _ in range(BURST + 5)]
    assert statuses[:BURST] == [400] * BURST
    assert statuses[-1] == 429
    late = await signed.exchange(signed.issuer.token(groups=["staff"]), source="192.0.2.7")
    assert (late.status, late.headers["retry-after"].isdigit()) == (429, True)
    assert (await signed.exchange(signed.issuer.token(groups=["staff"]))).status == 200


@pytest.mark.bound("checked-tokens")
async def test_tokens_that_are_remembered_are_bounded(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "MOST_REMEMBERED", 3)
    tokens = [await signed.signed_in(signed.issuer.token(groups=["staff"])) for _ in range(6)]
    for token in tokens:
        assert (await signed.ask(token, "GET", "/system/whoami")).status == 200
    assert len(signed.api.services.federation._checked) == 3


async def test_no_token_is_in_a_log(signed: Signed, capsys: pytest.CaptureFixture[str]) -> None:
    secret = signed.issuer.token(groups=["staff"])
    issued = await signed.signed_in(secret)
    await signed.exchange(secret[:-3] + "AAA", query=True)
    await signed.ask(issued, "GET", "/system/whoami")
    await signed.ask(issued[:-3] + "AAA", "GET", "/system/whoami")
    written = "".join(capsys.readouterr())
    assert "token exchanged" in written
    for text in (secret, issued):
        assert text.rpartition(".")[2][:40] not in written
        assert text.split(".")[1][:40] not in written


async def test_who_has_no_role_gets_nothing(signed: Signed) -> None:
    answer = await signed.exchange(signed.issuer.token(groups=["guests"]))
    assert (answer.status, answer.json) == (
        400, {"error": "invalid_request", "error_description": "No policies found for subject: alice"},
    )  # fmt: skip


async def test_what_a_token_stands_on_is_looked_up_when_it_is_used(signed: Signed) -> None:
    token = await signed.signed_in(signed.issuer.token(groups=["staff"]))

    async def status(target: str = "/system/functions?namespace=dev") -> int:
        return (await signed.ask(token, "GET", target)).status

    assert await status() == 200
    await signed.apply(policy_object("dev-rw", ["dev:*"], ["Secret:List"]))
    assert (await status(), await status("/system/secrets?namespace=dev")) == (403, 200)
    await signed.apply(POLICY, role_object("staff", ["dev-rw"], principal={"jwt:sub": ["bob"]}))
    assert await status() == 400  # Nothing is to be seen any more.
    await signed.apply(ROLE)
    assert await status() == 200
    assert (await signed.api.call("DELETE", "/system/iam/jwtissuers/idp")).status == 202
    assert await status() == 401


async def test_a_new_role_does_not_widen_a_token_that_is_out(signed: Signed) -> None:
    token = await signed.signed_in(signed.issuer.token(groups=["staff"]))
    everything = role_object("more", ["all"], principal={"jwt:sub": ["alice"]})
    await signed.apply(policy_object("all", "*", "*"), everything)
    assert (await signed.ask(token, "GET", "/system/info")).status == 403
    again = await signed.signed_in(signed.issuer.token(groups=["staff"]))
    assert (await signed.ask(again, "GET", "/system/info")).status == 200


async def test_a_token_ends(signed: Signed) -> None:
    token = await signed.signed_in(signed.issuer.token(groups=["staff"]))
    signed.now += 1800 + 31
    for _ in range(30):  # Being late is no guess at a password.
        assert (await signed.ask(token, "GET", "/system/whoami")).status == 401
    assert (await signed.api.call("GET", "/system/whoami")).status == 200


# The provider's keys.


@pytest.mark.parametrize("alg", ["RS256", "ES256", "ES384", "EdDSA"])
async def test_every_kind_of_key(signed: Signed, alg: str) -> None:
    signed.issuer.keys = [Key("k", alg)]
    assert (await signed.exchange(signed.issuer.token(groups=["staff"]))).status == 200


async def test_the_provider_changes_its_keys(signed: Signed) -> None:
    assert (await signed.exchange(signed.issuer.token(groups=["staff"]))).status == 200
    signed.issuer.keys = [Key("two"), *signed.issuer.keys]
    signed.now += ASKED_EVERY
    asked = len(signed.issuer.fetched)
    assert (await signed.exchange(signed.issuer.token(groups=["staff"]))).status == 200
    assert len(signed.issuer.fetched) == asked + 2


async def test_the_provider_is_away(signed: Signed) -> None:
    signed.issuer.down = True
    refused = await signed.exchange(signed.issuer.token(groups=["staff"]))
    assert (refused.status, refused.json["error"]) == (400, "temporarily_unavailable")
    assert "it is down" in refused.json["error_description"]
    facts = (await signed.api.call("GET", "/system/info")).json["hilbert"]
    assert "it is down" in facts["sign-in.issuer.idp"]
    signed.issuer.down = False
    signed.now += 10
    assert (await signed.exchange(signed.issuer.token(groups=["staff"], exp=NOW + 9e5))).status == 200
    assert "sign-in.issuer.idp" not in (await signed.api.call("GET", "/system/info")).json["hilbert"]
    signed.issuer.down = True  # Keys that are known go on working.
    for later in (FRESH + 1, 3600, 3600):
        signed.now += later
        assert (await signed.exchange(signed.issuer.token(groups=["staff"], exp=NOW + 9e5))).status == 200
    signed.now += USED_FOR
    assert (await signed.exchange(signed.issuer.token(groups=["staff"], exp=NOW + 9e5))).status == 400


# Our keys.


async def test_discovery_and_keys(signed: Signed) -> None:
    found = await signed.api.call("GET", "/.well-known/openid-configuration", user="")
    assert (found.status, found.json["issuer"], found.json["token_endpoint"]) == (200, URL, f"{URL}/oauth/token")
    assert found.json["id_token_signing_alg_values_supported"] == ["ES256"]
    assert found.json["jwks_uri"].startswith(URL)
    keys = (await signed.api.call("GET", found.json["jwks_uri"].removeprefix(URL), user="")).json["keys"]
    token = take_apart(await signed.signed_in(signed.issuer.token(groups=["staff"])))
    assert [key["kid"] for key in keys] == [token.kid]
    assert set(keys[0]) == {"kty", "crv", "x", "y", "kid", "use", "alg"}


async def test_our_key_is_rotated_with_an_overlap(signed: Signed) -> None:
    old = await signed.signed_in(signed.issuer.token(groups=["staff"]))
    made = await signed.api.call("POST", "/system/iam/rotate-key")
    assert made.status == 201
    kids = [key["kid"] for key in (await signed.api.call("GET", "/.well-known/jwks.json")).json["keys"]]
    assert (len(kids), made.json["kid"] in kids) == (2, True)
    still = await signed.signed_in(signed.issuer.token(groups=["staff"]))
    assert take_apart(still).kid == take_apart(old).kid
    assert (await signed.api.call("POST", "/system/iam/rotate-key")).status == 409

    signed.now += PUBLISHED_BEFORE
    new = await signed.signed_in(signed.issuer.token(groups=["staff"], exp=NOW + 9e5))
    assert take_apart(new).kid == made.json["kid"]
    assert (await signed.ask(old, "GET", "/system/whoami")).status == 200
    signed.now += KEPT_AFTER + 1
    assert len((await signed.api.call("GET", "/.well-known/jwks.json")).json["keys"]) == 1


async def test_our_key_is_taken_back(signed: Signed) -> None:
    old = await signed.signed_in(signed.issuer.token(groups=["staff"]))
    assert (await signed.ask(old, "GET", "/system/whoami")).status == 200
    assert (await signed.api.call("POST", "/system/iam/rotate-key?revoke=true")).status == 201
    assert (await signed.ask(old, "GET", "/system/whoami")).status == 401
    new = await signed.signed_in(signed.issuer.token(groups=["staff"]))
    assert (await signed.ask(new, "GET", "/system/whoami")).status == 200


# The objects.


async def test_objects_are_applied_read_and_deleted(signed: Signed) -> None:
    changed = policy_object("dev-rw", ["dev:*"], ["Function:List"])
    new = policy_object("new", ["dev:*"], ["Function:Read"])
    for query in ("?dry-run=true", ""):
        answer = await signed.apply(changed, new, ROLE, query=query)
        assert [(one["name"], one["change"]) for one in answer.json] == [
            ("dev-rw", "changed"), ("new", "created"), ("staff", "unchanged"),
        ]  # fmt: skip
        assert "Function:Read: no such action" in answer.json[1]["warning"]
        assert (await signed.api.call("GET", "/system/iam/policies/new")).status == (404 if query else 200)
    listed = (await signed.api.call("GET", "/system/iam")).json
    assert [(one["kind"], one["metadata"]["name"]) for one in listed] == [
        ("JwtIssuer", "idp"), ("Policy", "dev-rw"), ("Policy", "new"), ("Role", "staff"),
    ]  # fmt: skip
    assert (await signed.api.call("GET", "/system/iam/roles/staff")).json == ROLE
    assert (await signed.api.call("DELETE", "/system/iam/policies/new")).status == 202
    again = await signed.api.call("DELETE", "/system/iam/policies/new")
    assert (again.status, again.text) == (404, "Policy new not found\n")


@pytest.mark.parametrize(
    "wrong",
    [
        manifest("Policy", "p"),
        manifest("Role", "r", policy=["x"]),
        {"kind": "Role"},
        issuer_object(Issuer(), "twin"),
        POLICY,
    ],
)
async def test_one_wrong_object_changes_nothing(signed: Signed, wrong: dict[str, Any]) -> None:
    before = (await signed.api.call("GET", "/system/iam")).json
    answer = await signed.apply(policy_object("good", ["dev:*"], ["*"]), POLICY, wrong)
    assert answer.status == 400
    assert (await signed.api.call("GET", "/system/iam")).json == before


async def test_too_many_at_once(signed: Signed) -> None:
    many = [policy_object(f"p{number}", ["dev:*"], ["*"]) for number in range(501)]
    assert (await signed.apply(*many)).status == 400
    assert (await signed.apply()).status == 400


async def test_an_issuer_that_cannot_be_reached_shows_before_anybody_signs_in(signed: Signed) -> None:
    await signed.apply(issuer_object(Issuer("https://away.example.com"), "away"))

    async def facts() -> dict[str, str]:
        found: dict[str, str] = (await signed.api.call("GET", "/system/info")).json["hilbert"]
        return found

    async with asyncio.timeout(20):
        while "sign-in.issuer.away" not in await facts():
            await asyncio.sleep(0.01)
    assert "nothing is at https://away.example.com" in (await facts())["sign-in.issuer.away"]
    await signed.api.call("DELETE", "/system/iam/jwtissuers/away")
    assert "sign-in.issuer.away" not in await facts()


async def test_a_role_that_everybody_could_have_is_told(signed: Signed) -> None:
    github = Issuer("https://token.actions.githubusercontent.com")
    role = role_object("ci", ["dev-rw"], condition={"StringEqual": {"jwt:iss": [github.iss]}})
    answer = await signed.apply(issuer_object(github, "github"), role)
    assert "every repository on GitHub can have it" in answer.json[1]["warning"]
    facts = (await signed.api.call("GET", "/system/info")).json["hilbert"]
    assert facts["sign-in.role.ci"] == "every repository on GitHub can have it"
    assert facts["sign-in.public-url"] == "not set"


async def test_objects_and_keys_survive_a_restart(tmp_path: Any) -> None:
    from hilbert.iam.sqlite_shelf import SqliteShelves
    from support.api import signing_in

    found = []
    for _ in range(2):
        shelves = SqliteShelves(tmp_path / "tokens.db")
        parts = await signing_in(shelves)
        if not found:
            from hilbert.core.access import parse_document

            await parts["access_objects"].apply([parse_document(POLICY)])
        found.append((parts["sign_on"].ring.jwks(), parts["access_registry"].all()))
        shelves.close()
    assert found[0] == found[1]
    assert (tmp_path / "tokens.db").stat().st_mode & 0o777 == 0o600
