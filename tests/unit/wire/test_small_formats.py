"""The small formats: headers, JSON as Go reads it, secrets, namespaces, log lines, the store."""

from __future__ import annotations

import base64
import json
from datetime import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.core.errors import Invalid, InvalidSpec
from hilbert.core.model import LogLine, Namespace, Secret
from hilbert.core.values import FunctionRef, NamespaceName, SecretName
from hilbert.stack.function_store import StoreFunction, find, parse_store
from hilbert.wire.headers import MAX_CALL_ID, is_call_id
from hilbert.wire.info import GatewayInfo, ProviderInfo, VersionInfo
from hilbert.wire.log import encode_line, rfc3339_nano
from hilbert.wire.namespace import NamespaceInfo, from_namespace, is_marked, to_namespace
from hilbert.wire.problem import Problem, ProblemBody
from hilbert.wire.reading import check_size, decode
from hilbert.wire.secret import MAX_VALUE_BYTES, SecretRequest, to_secret

DEV = NamespaceName("dev")


@pytest.mark.parametrize("text", ["a", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "trace:1.2_3-4", "x" * MAX_CALL_ID])
def test_call_ids(text: str) -> None:
    assert is_call_id(text)


@pytest.mark.parametrize("text", ["", "x" * (MAX_CALL_ID + 1), "a b", "a\n", "a,b", "é", "\0", '"', "<a>"])
def test_what_is_no_call_id(text: str) -> None:
    assert not is_call_id(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    try:
        decode(body, SecretRequest)
    except Invalid as exc:
        said = exc.message
        assert 0 < len(said) <= 300


@pytest.mark.parametrize("depth", [2_000, 200_000])
def test_nesting_is_refused_not_fatal(depth: int) -> None:
    for body in (b"[" * depth, b'{"a":' * depth, b'{"x":' + b"[" * depth + b"]" * depth + b"}"):
        with pytest.raises(Invalid):
            decode(body, SecretRequest)


def test_sizes_are_bytes_of_keys_and_values() -> None:
    check_size("labels", [("é", "é")], count=1, size=4)
    with pytest.raises(InvalidSpec, match="labels: 4 bytes; the most is 3"):
        check_size("labels", [("é", "é")], count=1, size=3)
    with pytest.raises(InvalidSpec, match="labels: 2 entries; the most is 1"):
        check_size("labels", [("a", "b"), ("c", "d")], count=1, size=100)


@given(st.binary(max_size=300))
def test_a_raw_value_is_kept_byte_for_byte(value: bytes) -> None:
    given_ = SecretRequest(name="s", value="other", raw_value=base64.b64encode(value).decode())
    assert to_secret(given_, DEV).value == (value or b"other")


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=300))
def test_a_text_value_is_kept_as_utf_8(value: str) -> None:
    assert to_secret(SecretRequest(name="s", value=value), DEV) == Secret(DEV, SecretName("s"), value.encode())


@given(st.text(max_size=40))
def test_any_text_is_base64_or_refused(text: str) -> None:
    try:
        to_secret(SecretRequest(name="s", raw_value=text), DEV)
    except Invalid as exc:
        assert exc.message == "rawValue is not base64"  # noqa: PT017 - most texts are refused, some are not


def test_base64_may_be_wrapped() -> None:
    assert to_secret(SecretRequest(name="s", raw_value="aGVs\r\nbG8=\n"), DEV).value == b"hello"


def test_a_secret_has_a_largest_size() -> None:
    assert to_secret(SecretRequest(name="s", value="x" * MAX_VALUE_BYTES), DEV)
    with pytest.raises(Invalid, match="the most is 1048576"):
        to_secret(SecretRequest(name="s", value="x" * (MAX_VALUE_BYTES + 1)), DEV)


def test_a_secret_never_shows_its_value() -> None:
    assert "hunter2" not in repr(SecretRequest(name="s", value="hunter2", raw_value="hunter2"))


@pytest.mark.parametrize("text", ["1", "true", ""])
def test_the_mark_of_a_namespace_is_exact(text: str) -> None:
    for field in ("labels", "annotations"):
        assert is_marked(decode(json.dumps({field: {"openfaas": text}}).encode(), NamespaceInfo)) is (text == "1")


def test_a_namespace_there_and_back() -> None:
    given_ = NamespaceInfo(name="dev", labels={"a": "b"})
    found = to_namespace(given_, DEV)
    assert found == Namespace(name=DEV, labels={"a": "b", "openfaas": "1"}, annotations={"openfaas": "1"})
    assert to_namespace(from_namespace(found), DEV) == found
    assert msgspec.json.encode(from_namespace(Namespace(name=DEV))) == b'{"name":"dev"}'


@given(st.integers(min_value=0, max_value=4 * 10**18))
def test_log_times_are_exact(timestamp_ns: int) -> None:
    text = rfc3339_nano(timestamp_ns)
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    assert seconds * 10**9 + int(fraction.ljust(9, "0")) == timestamp_ns
    assert not fraction.endswith("0")


def test_a_log_line_is_one_line_whatever_was_written() -> None:
    line = LogLine(FunctionRef.parse("f.dev"), "f-1", 1, 'a "b" \x1b[31m\u2028 é')
    encoded = encode_line(line)
    assert encoded.count(b"\n") == 1
    assert json.loads(encoded)["text"] == line.text + "\n"


def test_info_and_problems() -> None:
    version = VersionInfo(sha="abc", release="1")
    info = GatewayInfo(arch="x86_64", provider=ProviderInfo("p", version, "o"), version=version)
    assert json.loads(msgspec.json.encode(info)) == {
        "arch": "x86_64",
        "provider": {"provider": "p", "version": {"sha": "abc", "release": "1"}, "orchestration": "o"},
        "version": {"sha": "abc", "release": "1"},
    }
    problem = Problem(ProblemBody(code="c", message="m"))
    assert msgspec.json.encode(problem) == b'{"error":{"code":"c","message":"m"}}'


STORE = b"""{"version": "0.2.1", "functions": [
  {"title": "NodeInfo", "name": "nodeinfo", "author": "a", "description": "d", "icon": null,
   "images": {"x86_64": "ghcr.io/openfaas/nodeinfo:latest"}, "repo_url": "https://example.com", "fprocess": "node"},
  {"title": "Env", "name": "env", "description": "d", "images": {}, "labels": {"a": "b"}, "environment": {"A": "1"},
   "annotations": {"t": "u"}, "readOnlyRootFilesystem": true, "network": "x"}]}"""


def test_the_store() -> None:
    nodeinfo, env = functions = parse_store(STORE)
    assert nodeinfo.images == {"x86_64": "ghcr.io/openfaas/nodeinfo:latest"}
    assert (nodeinfo.process, nodeinfo.repo_url, nodeinfo.read_only_root) == ("node", "https://example.com", False)
    assert env == StoreFunction(
        name="env",
        title="Env",
        description="d",
        env={"A": "1"},
        labels={"a": "b"},
        annotations={"t": "u"},
        read_only_root=True,
    )
    assert find(functions, "env") is env
    assert find(functions, "NodeInfo") is nodeinfo
    assert find(functions, "nodeInfo") is None


@pytest.mark.parametrize(
    "document", [b"", b"[]", b'{"functions": [{}]}', b'{"functions": [{"name": 1}]}', b" " * (9 * 2**20)]
)
def test_what_is_no_store(document: bytes) -> None:
    with pytest.raises(Invalid):
        parse_store(document)
