"""Functions that ask their callers who they are: strangers, forged and borrowed tokens, and the ways round the check."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from hilbert.api.asgi import Request
from hilbert.api.async_calls import ENDPOINTS as QUEUED
from hilbert.api.async_calls import get_call
from hilbert.api.endpoint import Call
from hilbert.api.endpoints import ENDPOINTS
from hilbert.control.call_policy import is_guarded
from hilbert.core.errors import Forbidden
from hilbert.core.function_tokens import REMEMBERED
from hilbert.core.identity import Caller, Grant
from hilbert.core.model import FunctionSpec
from hilbert.core.values import FunctionRef
from hilbert.dataplane.feed.messages import CallKey, CallKeys
from hilbert.dataplane.guard import MOST_FAILURES, MOST_REMEMBERED
from support.api import URL
from support.dataplane import DELIVERY_SECRET, Plane
from support.guarded import Guarded

pytestmark = pytest.mark.anyio

GET = next(one for one in QUEUED if one.method == "GET")
REALM = "Bearer realm=IAM function invoke"


async def test_each_kind_of_credentials(guarded: Guarded) -> None:
    invoker, viewer, other = [
        await guarded.token(role, namespace)
        for role, namespace in (("invoker", "dev"), ("viewer", "dev"), ("invoker", "other"))
    ]
    basic = base64.b64encode(f"t:{invoker}".encode()).decode()
    wrong_name = base64.b64encode(f"x:{invoker}".encode()).decode()
    password = base64.b64encode(b"admin:correct-horse").decode()
    assert guarded.check("") == (401, "Bearer must be present in Authorization header")
    assert guarded.check(f"Bearer {invoker}")[0] == 200
    assert guarded.check(f"bearer  {invoker}")[0] == 200
    assert guarded.check(f"Basic {basic}")[0] == 200
    assert guarded.check(f"Basic {wrong_name}")[0] == 401
    assert guarded.check(f"Basic {password}")[0] == 401
    assert guarded.check(f"Bearer {viewer}") == (403, "insufficient permissions")
    assert guarded.check(f"Bearer {other}") == (403, "insufficient permissions")
    assert guarded.check(f"Bearer {invoker[:-1]}0" if invoker[-1] != "0" else f"Bearer {invoker[:-1]}1")[0] == 401
    assert guarded.check(f"Bearer {'x' * 100_000}")[0] == 401
    for nonsense in ("Bearer", "Bearer ", "Basic !!!", "Digest x", "Bearer a.b.c", "Bearer eyJ.eyJ.x", "\xff"):
        assert guarded.check(nonsense)[0] == 401, nonsense


@pytest.mark.bound("remembered-tokens")
async def test_what_is_remembered_of_one_token_is_bounded(guarded: Guarded) -> None:
    """However often it comes, and in whatever dress."""
    invoker = await guarded.token("invoker")
    for number in range(MOST_REMEMBERED + 10):
        assert guarded.check(f"Bearer {' ' * (number % 1500)}{invoker}", f"f{number}")[0] == 200
    assert len(guarded.guard._admitted) <= MOST_REMEMBERED
    guarded.guard._admitted.clear()
    assert guarded.check(f"Bearer {' ' * 3000}{invoker}")[0] == 200
    assert guarded.guard._admitted == {}


async def test_function_tokens_of_the_gateways_own_tokens(guarded: Guarded) -> None:
    invoker = await guarded.token("invoker")
    given = await guarded.function_token(invoker)
    assert (given["token_type"], given["scope"]) == ("Bearer", "function")
    assert 0 < given["expires_in"] <= 300
    bearer = f"Bearer {given['access_token']}"
    assert guarded.check(bearer)[0] == 200
    assert guarded.check(bearer, namespace="other")[0] == 403
    narrow = await guarded.function_token(invoker, "dev:f")
    assert guarded.check(f"Bearer {narrow['access_token']}")[0] == 200
    assert guarded.check(f"Bearer {narrow['access_token']}", "g")[0] == 403
    for audience in ("other:f", "dev", "*", "dev:", ":f", "mydev:f"):
        assert (await guarded.function_token(invoker, audience))["error"] == "invalid_target", audience
    viewer = await guarded.token("viewer")
    assert (await guarded.function_token(viewer))["error"] == "invalid_scope"
    assert (await guarded.function_token(invoker[:-2] + "zz"))["error"] == "invalid_request"
    assert (await guarded.function_token(given["access_token"]))["error"] == "invalid_request", (
        "no more of a function token"
    )


async def test_a_function_token_opens_nothing_of_the_api(guarded: Guarded) -> None:
    bearer = f"Bearer {(await guarded.function_token(await guarded.token('owner')))['access_token']}"
    for endpoint in ENDPOINTS:
        if endpoint.path.startswith("/system/") and "{" not in endpoint.path:
            answer = await guarded.api.call(
                endpoint.method, endpoint.path, headers={"Authorization": bearer, "X-Forwarded-For": endpoint.path}
            )
            assert answer.status in (401, 429), endpoint.path


async def test_a_revocation_is_in_force_when_it_is_heard(guarded: Guarded) -> None:
    invoker = await guarded.token("invoker")
    function = (await guarded.function_token(invoker))["access_token"]
    assert guarded.check(f"Bearer {function}")[0] == 200
    await guarded.revoke(invoker)
    assert guarded.check(f"Bearer {invoker}")[0] == 401
    await guarded.rotate()
    assert guarded.check(f"Bearer {function}")[0] == 401


async def test_time_ends_tokens_also_those_that_were_checked(guarded: Guarded) -> None:
    digest = hashlib.sha256(b"s").digest()
    key = CallKey(id="1", name="t", digest=digest, namespaces=["dev"], may_call=True, until=guarded.clock.now + 5)
    invoker = await guarded.token("invoker")
    function = (await guarded.function_token(invoker))["access_token"]
    assert guarded.check(f"Bearer {function}")[0] == 200
    guarded.clock.now += 400
    assert guarded.check(f"Bearer {function}")[0] in (
        200,
        401,
    )  # The library looks at the real time; what was cached is not used.
    assert REMEMBERED <= 60
    guarded.guard.learn(CallKeys("", [], [key]))
    assert guarded.check("Bearer hilbert_1_s")[0] == 401


@pytest.mark.parametrize(
    ("change", "headers"),
    [
        ({"iss": "https://evil.example"}, {}),
        ({"aud": "https://evil.example"}, {}),
        ({"exp": 1}, {}),
        ({"exp": None}, {}),
        ({"nbf": 2**40}, {}),
        ({"exp": "soon"}, {}),
        ({"sub": None}, {}),
        ({}, {"kid": "unknown"}),
        ({}, {"kid": 7}),
        ({}, {"crit": ["x"], "x": 1}),
    ],
)
async def test_wrong_claims(guarded: Guarded, change: dict[str, Any], headers: dict[str, Any]) -> None:
    ring = guarded.api.services.federation.ring
    await guarded.token("invoker")
    signer = ring._signer()
    now = int(time.time())
    claims = {
        "iss": URL, "aud": URL, "sub": "x", "iat": now, "exp": now + 100, "function": {"permissions": ["dev:*"]},
    }  # fmt: skip
    good = jwt.encode(claims, signer.private, algorithm="ES256", headers={"kid": signer.key.kid})
    assert guarded.check(f"Bearer {good}")[0] == 200
    changed = {name: value for name, value in (claims | change).items() if value is not None}
    try:
        bad = jwt.encode(changed, signer.private, algorithm="ES256", headers={"kid": signer.key.kid} | headers)
    except (TypeError, jwt.PyJWTError):
        return  # Not even a signer makes it.
    assert guarded.check(f"Bearer {bad}")[0] == 401


@pytest.mark.parametrize(
    "function",
    [None, [], "dev:*", {}, {"permissions": "dev:*"}, {"permissions": [7]}, {"permissions": ["mydev:*"]},
     {"permissions": ["dev:g"]}, {"permissions": ["*:*"]}, {"permissions": ["de*:f"]}, {"permissions": ["dev:*"], "audience": []},
     {"permissions": ["dev:*"], "audience": ["dev:g"]}, {"permissions": ["dev:*"], "audience": "dev:f"}],
)  # fmt: skip
async def test_wrong_permissions(guarded: Guarded, function: object) -> None:
    await guarded.token("invoker")
    signer = guarded.api.services.federation.ring._signer()
    now = int(time.time())
    claims = {"iss": URL, "aud": URL, "sub": "x", "iat": now, "exp": now + 100, "function": function}
    text = jwt.encode(claims, signer.private, algorithm="ES256", headers={"kid": signer.key.kid})
    assert guarded.check(f"Bearer {text}") == (403, "insufficient permissions")


async def test_other_algorithms(guarded: Guarded) -> None:
    await guarded.token("invoker")
    signer = guarded.api.services.federation.ring._signer()
    now = int(time.time())
    claims = {"iss": URL, "aud": URL, "sub": "x", "iat": now, "exp": now + 100, "function": {"permissions": ["*"]}}
    kid = {"kid": signer.key.kid}
    unsigned = jwt.encode(claims, None, algorithm="none", headers=kid)
    hashed = jwt.encode(claims, signer.jwk["x"] * 2, algorithm="HS256", headers=kid)
    for text in (unsigned, hashed):
        assert guarded.check(f"Bearer {text}")[0] == 401


@pytest.mark.bound("call-tokens")
async def test_a_flood_of_forged_tokens_is_not_checked_for_ever(guarded: Guarded) -> None:
    await guarded.token("invoker")
    told = [guarded.check(f"Bearer eyJ.{n}.x", source="flood")[1] for n in range(MOST_FAILURES + 5)]
    assert sum("too many" in text for text in told) == 5
    assert "too many" not in guarded.check("Bearer eyJ.x.x", source="another")[1]
    guarded.clock.now += 1
    assert "too many" not in guarded.check("Bearer eyJ.x.x", source="flood")[1]


async def test_queueing_is_no_way_round_and_keeps_no_token(guarded: Guarded) -> None:
    body = {"service": "f", "image": "i", "annotations": {"com.hilbert.auth": "required"}}
    assert (await guarded.api.call("POST", "/system/functions?namespace=dev", body)).status == 202
    invoker, other = await guarded.token("invoker"), await guarded.token("invoker", "other")
    path = "/async-function/f.dev"
    refused = await guarded.api.call("POST", path, b"x", user="")
    assert (refused.status, refused.text) == (401, "Bearer must be present in Authorization header")
    assert refused.headers["www-authenticate"] == REALM
    assert (await guarded.api.call("POST", path, b"x", headers={"Authorization": f"Bearer {other}"})).status == 403
    queued = await guarded.api.call("POST", path, b"x", headers={"Authorization": f"Bearer {invoker}"})
    assert queued.status == 202
    kept = await guarded.api.services.intake.queue.body("dev", queued.headers["x-call-id"])  # type: ignore[union-attr, arg-type]
    assert b"x" in kept
    assert invoker.encode() not in kept
    wrong = {**body, "annotations": {"com.hilbert.auth": "yes"}}
    assert (await guarded.api.call("PUT", "/system/functions?namespace=dev", wrong)).status == 400


async def test_whoever_may_not_call_a_function_neither_cancels_its_queued_calls_nor_reads_what_they_carry(
    guarded: Guarded,
) -> None:
    """The id alone is enough for other functions, as in OpenFaaS. The call goes on, and nobody hears whether the id is right."""
    api = guarded.api
    body = {
        "service": "f",
        "image": "i",
        "annotations": {"com.hilbert.auth": "required", "com.hilbert.async.results": "1h"},
    }
    assert (await api.call("POST", "/system/functions?namespace=dev", body)).status == 202
    invoker, viewer, deployer = [await guarded.token(role) for role in ("invoker", "viewer", "deployer")]
    other = await guarded.token("owner", "other")
    may_call = f"Bearer {invoker}"
    queued = await api.call("POST", "/async-function/f.dev", b"x", headers={"Authorization": may_call, "X-Delay": "1h"})
    target = f"/async-function/{queued.headers['x-call-id']}"
    refused = await api.call("DELETE", target, user="")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, REALM)
    for token in (viewer, other, (await guarded.function_token(invoker, "dev:g"))["access_token"]):
        answer = await api.call("DELETE", target, headers={"Authorization": f"Bearer {token}"})
        assert (answer.status, answer.text) == (403, "insufficient permissions"), answer
    assert (await api.call("DELETE", target, headers={"Authorization": "Basic YWRtaW46d3Jvbmc="})).status == 401
    for token, status in ((viewer, 403), (other, 404), (invoker, 404), (deployer, 200)):
        named = {"Authorization": f"Bearer {token}"}
        assert (await api.call("GET", f"{target}/request", headers=named)).status == status
    assert (await api.call("GET", target)).json["state"] == "delayed"
    function = (await guarded.function_token(invoker))["access_token"]
    admin = "Basic " + base64.b64encode(b"admin:correct-horse").decode()
    for right in (may_call, f"Bearer {function}", f"Bearer {deployer}", admin):
        again = await api.call(
            "POST", "/async-function/f.dev", b"x", headers={"Authorization": may_call, "X-Delay": "1h"}
        )
        number = again.headers["x-call-id"]
        assert (await api.call("DELETE", f"/async-function/{number}", headers={"Authorization": right})).status == 202
        assert (await api.call("GET", f"/async-function/{number}")).json["state"] == "cancelled"


async def test_who_may_see_payloads_but_not_call_sees_none_of_a_function_that_asks(guarded: Guarded) -> None:
    """`Function:Payload` is enough for what anybody may call."""
    api = guarded.api
    for name, auth in (("asks", "required"), ("open", "none")):
        body = {"service": name, "image": "i", "annotations": {"com.hilbert.auth": auth}}
        assert (await api.call("POST", "/system/functions?namespace=dev", body)).status == 202
    invoker = f"Bearer {await guarded.token('invoker')}"
    support = Caller(identity="support", grants=(Grant(("Function:Get", "Function:Payload"), ("dev:*",)),))
    for name, status in (("asks", 403), ("open", 200)):
        queued = await api.call("POST", f"/async-function/{name}.dev", b"x", headers={"Authorization": invoker})
        number = queued.headers["x-call-id"]
        call = Call(
            GET,
            api.services,
            Request({"method": "GET", "path": "", "headers": [], "query_string": b""}, None),
            support,
            f"{number}/request",
        )  # type: ignore[arg-type]
        if status == 200:
            assert (await get_call(call)).body == b"x"
        else:
            with pytest.raises(Forbidden, match="Function:Invoke"):
                await get_call(call)


def test_either_of_namespace_and_function_asks_and_neither_takes_it_back() -> None:
    def spec(**more: Any) -> FunctionSpec:
        return FunctionSpec(ref=FunctionRef("dev", "f"), image="i", **more)  # type: ignore[arg-type]

    asks = {"com.hilbert.auth": "required"}
    none = {"com.hilbert.auth": "none"}
    assert not is_guarded(spec(), {})
    assert not is_guarded(spec(annotations=none), none)
    assert is_guarded(spec(annotations=asks), none)
    assert is_guarded(spec(annotations=none), asks)
    assert is_guarded(spec(annotations={"com.hilbert.auth": "requierd"}), {})
    assert is_guarded(spec(env={"jwt_auth": "true"}), {})
    assert not is_guarded(spec(env={"jwt_auth": "false"}), {})


@pytest.fixture(scope="module")
def plane() -> Iterator[Plane]:
    found = Plane()
    yield found
    found.close()


def test_a_worker_asks_and_hears_of_revocations(plane: Plane) -> None:
    name = "kept"
    replica = plane.replica()
    plane.put(name, replica.endpoint, namespace="dev", guarded=True)
    plane.put("open", replica.endpoint, namespace="dev")
    path = f"/function/{name}.dev"
    key = CallKey(id="1", name="t", digest=hashlib.sha256(b"s").digest(), namespaces=["dev"], may_call=True)
    refused = plane.call(path)
    assert (refused.status, refused.body) == (401, b"Bearer must be present in Authorization header")
    assert refused.get("WWW-Authenticate") == REALM.encode()
    assert refused.get("X-OpenFaaS-Internal") == b"faas-middleware"
    assert plane.call("/function/open.dev").status == 200
    assert plane.call(path, headers="Authorization: Bearer hilbert_1_s").status == 401
    plane.run(plane.feed.tell_keys, CallKeys("", [], [key]))
    plane.put("settled", replica.endpoint, namespace="dev")
    assert plane.call(path, headers="Authorization: Bearer hilbert_1_s").status == 200
    assert plane.call(path, headers="Authorization: Bearer hilbert_1_wrong").status == 401
    upgrade = "Connection: Upgrade\nUpgrade: websocket"
    assert plane.call(path, headers=upgrade).status == 401
    assert plane.call(path, headers=f"X-Hilbert-Delivery: {DELIVERY_SECRET} 192.0.2.1").status == 200
    assert plane.call(path, headers="X-Hilbert-Delivery: guessed 192.0.2.1").status == 401
    plane.run(plane.feed.tell_keys, CallKeys("", [], []))
    plane.put("settled-again", replica.endpoint, namespace="dev")
    assert plane.call(path, headers="Authorization: Bearer hilbert_1_s").status == 401
