"""What strangers and mistakes send: a clear refusal each, and nothing changed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from hilbert.core.settings import GatewaySettings, Settings
from hilbert.core.values import Quantity
from support.api import Api, running

pytestmark = pytest.mark.anyio

WRITES = [
    ("POST", "/system/functions"),
    ("PUT", "/system/functions"),
    ("DELETE", "/system/functions"),
    ("POST", "/system/scale-function/f"),
    ("POST", "/system/namespace/"),
    ("PUT", "/system/namespace/dev"),
    ("DELETE", "/system/namespace/dev"),
    ("POST", "/system/secrets"),
    ("PUT", "/system/secrets"),
    ("DELETE", "/system/secrets"),
]

BROKEN = {
    "half": b'{"service": "f"',
    "no json": b"service=f&image=i",
    "array": b"[]",
    "text": b'"f"',
    "number": b"7",
    "trailing": b'{"service": "f", "image": "i"} {}',
    "not utf-8": b'{"service": "\xff", "functionName": "\xff", "name": "\xff", "namespace": "\xff"}',
    "lone surrogate": b'{"service": "\\ud800"}',
    "deep": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep, open": b"[" * 100_000,
    "NaN": b'{"replicas": NaN}',
}

BAD_NAMES = ["..", ".", "a/b", "../x", "a\0b", "A", "Figlet", "a" * 64, "a_b", "-a", "a-", "é", "a b", "a\nb", "\u0430"]


async def functions(api: Api) -> list[str]:
    found = []
    for namespace in ("openfaas-fn", "dev"):
        listed = (await api.call("GET", f"/system/functions?namespace={namespace}")).json
        found += [function["name"] for function in listed]
    return found


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
async def test_bodies_that_are_no_json(api: Api, body: bytes) -> None:
    for method, path in WRITES:
        answer = await api.call(method, path, body)
        assert answer.status == 400, (method, path, answer)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text.endswith("\n")
        assert len(answer.text) > 10
        assert len(answer.text) < 600
    assert await functions(api) == []
    assert (await api.call("GET", "/system/namespaces")).json == ["dev", "openfaas-fn"]
    assert (await api.call("GET", "/system/secrets")).json == []


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_no_body(api: Api, method: str, path: str) -> None:
    answer = await api.call(method, path)
    if (method, path) == ("DELETE", "/system/namespace/dev"):
        assert answer.status == 202
    else:
        assert answer.status == 400


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_names_in_bodies(api: Api, name: str) -> None:
    created = await api.call("POST", "/system/functions", {"service": name, "image": "i"})
    assert created.status == 400
    assert created.text.startswith("validation failed: service: (")
    assert created.text.isascii()
    assert (await api.call("PUT", "/system/functions", {"service": name, "image": "i"})).status == 400
    assert (await api.call("DELETE", "/system/functions", {"functionName": name})).status == 400
    namespace = {"name": name, "labels": {"openfaas": "1"}}
    assert (await api.call("POST", "/system/namespace/", namespace)).status == 400
    deployed = await api.call("POST", "/system/functions", {"service": "f", "image": "i", "namespace": name})
    assert (deployed.status, deployed.text) == (400, "namespace not valid\n")
    if name != "a" * 64:
        for method in ("POST", "PUT", "DELETE"):
            assert (await api.call(method, "/system/secrets", {"name": name, "value": "x"})).status == 400
    assert await functions(api) == []
    assert (await api.call("GET", "/system/namespaces")).json == ["dev", "openfaas-fn"]


@pytest.mark.parametrize(
    "segment",
    [
        "..",
        ".",
        "%2e%2e",
        "a%2Fb",
        "..%2Fx",
        "a%00b",
        "A",
        "a" * 64,
        "a_b",
        "%C3%A9",
        "a%20b",
        "a%0ab",
        "%ff",
        "a.",
        ".a",
    ],
)
async def test_names_in_paths(api: Api, segment: str) -> None:
    for method, path, body in (
        ("GET", f"/system/function/{segment}", None),
        ("POST", f"/system/scale-function/{segment}", {"replicas": 1}),
        ("GET", f"/system/namespace/{segment}", None),
        ("DELETE", f"/system/namespace/{segment}", None),
    ):
        answer = await api.call(method, path, body)
        assert answer.status in (400, 404, 405), (method, path, answer)
    assert (await api.call("GET", "/system/namespaces")).json == ["dev", "openfaas-fn"]


WRONG_TYPES: list[dict[str, Any]] = [
    {"service": 1},
    {"image": ["i"]},
    {"namespace": {"a": "b"}},
    {"labels": {"a": 1}},
    {"labels": ["a"]},
    {"annotations": {"a": True}},
    {"annotations": "a=b"},
    {"envVars": {"A": 1.5}},
    {"envVars": [["A", "b"]]},
    {"secrets": "one"},
    {"secrets": [1]},
    {"secrets": [None]},
    {"constraints": [{}]},
    {"limits": "128Mi"},
    {"limits": {"memory": 128}},
    {"requests": []},
    {"readOnlyRootFilesystem": "true"},
]


@pytest.mark.parametrize("wrong", WRONG_TYPES, ids=str)
async def test_wrong_types(api: Api, wrong: dict[str, Any]) -> None:
    created = await api.call("POST", "/system/functions", {"service": "f", "image": "i", **wrong})
    assert created.status == 400
    assert created.text.startswith("failed to unmarshal request: ")
    (field,) = wrong
    assert field in created.text
    updated = await api.call("PUT", "/system/functions", {"service": "f", "image": "i", **wrong})
    assert updated.status == 400
    assert updated.text.startswith("unable to unmarshal request: ")


WRONG_VALUES: list[tuple[dict[str, Any], str]] = [
    ({"service": ""}, "validation failed: service: is required"),
    ({"service": None}, "validation failed: service: is required"),
    ({"image": ""}, "validation failed: image: is required"),
    ({"image": None}, "validation failed: image: is required"),
    ({"image": "a b"}, "validation failed: image: must be"),
    ({"image": "a\nb"}, "validation failed: image: must be"),
    ({"image": "i" * 1025}, "validation failed: image: must be"),
    ({"labels": {"bad key": "x"}}, "label key (bad key) is invalid"),
    ({"labels": {"a": "no spaces"}}, "label a: value (no spaces) is invalid"),
    ({"labels": {"a": "x" * 64}}, "label a: value"),
    ({"labels": {f"k{number}": "v" for number in range(257)}}, "labels: 257 entries; the most is 256"),
    ({"annotations": {"a": "x" * 262_145}}, "annotations: 262146 bytes; the most is 262144"),
    ({"annotations": {"a/b/c": "x"}}, "annotation key (a/b/c) is invalid"),
    ({"annotations": {"a": "nul\0"}}, "annotation a: value contains a NUL character"),
    ({"envVars": {"1A": "x"}}, "environment variable (1A) is invalid"),
    ({"envVars": {"A=B": "x"}}, "environment variable (A=B) is invalid"),
    ({"envVars": {"": "x"}}, "environment variable () is invalid"),
    ({"envVars": {"A": "nul\0"}}, "environment variable A: value contains a NUL character"),
    ({"envVars": {"HILBERT_MODE": "x"}}, "environment variable HILBERT_MODE: names that begin with HILBERT_"),
    ({"envVars": {"A": "x" * 131_072}}, "environment variable A: longer than 131071 bytes"),
    ({"envVars": {f"A{number}": "x" * 110_000 for number in range(10)}}, "envVars: 1100020 bytes; the most is 1048576"),
    ({"envProcess": "a\0b"}, "envProcess: must be at most"),
    ({"envProcess": "x" * 65_537}, "envProcess: must be at most 65536 bytes"),
    ({"envVars": {f"A{number}": "" for number in range(2049)}}, "envVars: 2049 entries; the most is 2048"),
    ({"secrets": ["../x"]}, "secret name (../x) is invalid"),
    ({"secrets": [f"s{number}" for number in range(257)]}, "secrets: 257 entries; the most is 256"),
    ({"constraints": [""]}, "constraints: each must be from 1 to 512"),
    ({"constraints": ["a=b"] * 65}, "constraints: 65 entries; the most is 64"),
    ({"limits": {"memory": "lots"}}, "limits.memory: (lots) is not a quantity"),
    ({"limits": {"memory": "40m"}}, "limits.memory: 40m is 1 byte, in which no function can start"),
    ({"limits": {"cpu": "1u"}}, "limits.cpu: 1u is less than a thousandth of a processor"),
    ({"limits": {"cpu": "-1"}}, "limits.cpu: (-1) is not a quantity"),
    ({"requests": {"nvidia.com/gpu": "1x"}}, "requests.nvidia.com/gpu: (1x) is not a quantity"),
    ({"annotations": {"com.hilbert.timeout.total": "soon"}}, "annotation com.hilbert.timeout.total: "),
    ({"annotations": {"com.hilbert.max-inflight": "-1"}}, "annotation com.hilbert.max-inflight: must be"),
    ({"annotations": {"com.hilbert.network": "maybe"}}, "annotation com.hilbert.network: must be"),
]


@pytest.mark.bound("labels", "annotations", "environment", "process", "function-secrets", "constraints")
@pytest.mark.parametrize(("wrong", "text"), WRONG_VALUES, ids=[text[:50] for _, text in WRONG_VALUES])
async def test_wrong_values(api: Api, wrong: dict[str, Any], text: str) -> None:
    for method in ("POST", "PUT"):
        answer = await api.call(method, "/system/functions", {"service": "f", "image": "i", **wrong})
        assert answer.status == 400
        assert answer.text.startswith(text)
        assert len(answer.text) < 600
    assert await functions(api) == []


@pytest.mark.parametrize("replicas", [-1, 1.5, "2", None, True, 2**31, 2**64, 1e30])
async def test_replicas_that_are_no_count(api: Api, replicas: Any) -> None:
    await api.call("POST", "/system/functions", {"service": "f", "image": "i"})
    answer = await api.call("POST", "/system/scale-function/f", {"serviceName": "f", "replicas": replicas})
    assert answer.status == 400
    assert (await api.call("GET", "/system/function/f")).json["replicas"] == 1


async def test_a_scale_without_a_number_changes_nothing(api: Api) -> None:
    await api.call("POST", "/system/functions", {"service": "f", "image": "i"})
    assert (await api.call("POST", "/system/scale-function/f", {"serviceName": "f"})).status == 400
    assert (await api.call("GET", "/system/function/f")).json["replicas"] == 1


async def test_the_path_says_which_function_is_scaled(api: Api) -> None:
    for name in ("f", "g"):
        await api.call("POST", "/system/functions", {"service": name, "image": "i"})
    assert (await api.call("POST", "/system/scale-function/f", {"serviceName": "g", "replicas": 2})).status == 202
    assert (await api.call("GET", "/system/function/f")).json["replicas"] == 2
    assert (await api.call("GET", "/system/function/g")).json["replicas"] == 1


async def test_duplicate_creates_and_deletes_of_what_is_absent(api: Api) -> None:
    body = {"service": "f", "image": "i"}
    assert (await api.call("POST", "/system/functions", body)).status == 202
    assert (await api.call("POST", "/system/functions", {**body, "image": "other"})).status == 409
    assert (await api.call("GET", "/system/function/f")).json["image"] == "i"
    for expected in (202, 404, 404):
        assert (await api.call("DELETE", "/system/functions", {"functionName": "f"})).status == expected
    assert (await api.call("PUT", "/system/functions", body)).status == 404
    assert (await api.call("POST", "/system/scale-function/f", {"replicas": 1})).status == 404


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_bodies_that_are_too_large(method: str, path: str) -> None:
    settings = Settings(gateway=GatewaySettings(max_api_body=Quantity.parse("10k")))
    async with running(settings=settings) as api:
        answer = await api.call(method, path, b'{"service": "' + b"f" * 10_000 + b'"}')
        assert answer.status == 413
        assert "gateway.max_api_body" in answer.text
        chunked = {"Transfer-Encoding": "chunked"}
        body = b"%x\r\n%s\r\n" % (8000, b" " * 8000)
        async with api.open(method, path, {"Host": "h", **chunked, **AUTH}, body * 2 + b"0\r\n\r\n") as exchange:
            assert exchange.status == 413
        assert (await api.call("GET", "/healthz")).status == 200


AUTH = {"Authorization": "Basic YWRtaW46Y29ycmVjdC1ob3JzZQ=="}


@pytest.mark.bound("query-parameters")
async def test_a_query_with_absurdly_many_parameters(api: Api) -> None:
    assert (await api.call("GET", "/system/functions?" + "&".join(["a=b"] * 256))).status == 200
    answer = await api.call("GET", "/system/functions?" + "&".join(["a=b"] * 257))
    assert (answer.status, "more than 256 parameters" in answer.text) == (400, True)


@pytest.mark.bound("secret-value")
async def test_a_secret_that_is_too_large_or_no_base64(api: Api) -> None:
    large = await api.call("POST", "/system/secrets", {"name": "s", "value": "x" * (1024 * 1024 + 1)})
    assert (large.status, large.text) == (400, "secret s: 1048577 bytes; the most is 1048576 per secret\n")
    for raw in ("!", "QQ=", "Q", "QQ==QQ==x"):
        answer = await api.call("POST", "/system/secrets", {"name": "s", "rawValue": raw})
        assert (answer.status, answer.text) == (400, "rawValue is not base64\n")
    for body in ({}, {"name": ""}, {"value": "x"}):
        assert (await api.call("POST", "/system/secrets", body)).text == "non-empty name is required\n"
    assert (await api.call("GET", "/system/secrets")).json == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("name", ["UPPER", "a/b", "..", "a..b", "a" * 254, "a\0", "-a"])
async def test_secret_names(api: Api, method: str, name: str) -> None:
    answer = await api.call(method, "/system/secrets", {"name": name, "value": "x"})
    assert answer.status == 400
    assert answer.text.startswith("secret name (")


@pytest.mark.parametrize(
    "path", ["/system", "/system/nope", "/nope", "/system/functions/x", "/metrics", "/system/metrics"]
)
async def test_unknown_paths(api: Api, path: str) -> None:
    answer = await api.call("GET", path)
    assert (answer.status, answer.body) == (404, b"404 page not found\n")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/system/functions"),
        ("HEAD", "/system/functions"),
        ("OPTIONS", "/system/functions"),
        ("POST", "/system/function/x"),
        ("GET", "/system/scale-function/x"),
        ("POST", "/system/namespaces"),
        ("POST", "/system/info"),
        ("DELETE", "/system/logs"),
        ("POST", "/healthz"),
        ("PUT", "/async-function/x"),
        ("POST", "/ui/"),
    ],
)
async def test_wrong_methods(api: Api, method: str, path: str) -> None:
    answer = await api.call(method, path)
    assert (answer.status, answer.body) == (405, b"")


async def test_a_client_that_leaves_half_way_is_no_error_of_ours(api: Api) -> None:
    with capture_logs() as logged:
        for method, path in WRITES:
            _, writer = await asyncio.open_unix_connection(str(api.path))
            head = f"{method} {path} HTTP/1.1\r\nHost: h\r\nAuthorization: {AUTH['Authorization']}\r\nContent-Length: 99\r\n\r\n"
            writer.write(head.encode() + b'{"service": "f"')
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        assert (await api.call("GET", "/healthz")).status == 200
    assert logged == []
    assert await functions(api) == []


async def test_a_host_that_is_none(api: Api) -> None:
    answer = await api.call("GET", "/system/info", headers={"Host": "a b"})
    assert (answer.status, answer.text) == (400, "Invalid host header\n")


async def test_the_content_type_does_not_matter_to_reading(api: Api) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"):
        answer = await api.call(
            "PUT", "/system/functions", {"service": "f", "image": "i"}, headers={"Content-Type": kind}
        )
        assert answer.status == 404
