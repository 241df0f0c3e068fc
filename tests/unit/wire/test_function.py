"""Functions on the wire: what goes in comes out, as Go would write it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.core.errors import HilbertError
from hilbert.core.model import CallPolicy, FunctionSpec, FunctionStatus, Phase, Resources, Usage
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName, Quantity, SecretName
from hilbert.wire.function import Deployment, Function
from hilbert.wire.reading import decode
from hilbert.wire.specification import from_spec, from_status, rfc3339, to_spec

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
KEYS = st.from_regex(r"([a-z0-9]{1,9}\.example/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?", fullmatch=True)
ENV_KEYS = st.from_regex(r"[-._a-zA-Z][-._a-zA-Z0-9]{0,20}", fullmatch=True).filter(
    lambda key: not key.startswith("HILBERT_")
)
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=60)
QUANTITIES = st.sampled_from(["128Mi", "0.5", "100m", "1e3", ".5Gi", "1."]).map(Quantity.parse)
MEMORY = st.sampled_from(["128Mi", "1e9", ".5Gi", "1048576"]).map(Quantity.parse)
AMOUNTS = st.builds(
    Resources,
    memory=st.none() | MEMORY,
    cpu=st.none() | QUANTITIES,
    devices=st.dictionaries(st.sampled_from(["nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu"]), QUANTITIES),
).map(lambda found: None if found == Resources() else found)
SPECS = st.builds(
    FunctionSpec,
    ref=st.builds(FunctionRef, namespace=NAMES.map(NamespaceName), name=NAMES.map(FunctionName)),
    image=st.from_regex(r"[!-~]{1,80}", fullmatch=True),
    process=TEXTS,
    env=st.dictionaries(ENV_KEYS, TEXTS, max_size=4),
    labels=st.dictionaries(
        KEYS, st.from_regex(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?)?", fullmatch=True), max_size=4
    ),
    annotations=st.dictionaries(KEYS, TEXTS, max_size=4),
    secrets=st.lists(NAMES.map(SecretName), unique=True, max_size=3).map(tuple),
    constraints=st.lists(st.from_regex(r"[a-z./]{1,20}=[a-z0-9]{1,9}", fullmatch=True), max_size=3).map(tuple),
    limits=st.none() | AMOUNTS,
    requests=st.none() | AMOUNTS,
    read_only_root=st.booleans(),
)
POLICY = CallPolicy(first_byte=60, idle=300, total=0, activation=0.25)
REF = FunctionRef.parse("f.dev")


def status(spec: FunctionSpec, **extra: object) -> FunctionStatus:
    fields: dict[str, object] = {
        "replicas": 2,
        "available": 1,
        "created_at": datetime(2024, 5, 1, 10, 0, 0, tzinfo=UTC),
        "generation": 3,
    }
    return FunctionStatus(spec=spec, **{**fields, **extra})  # type: ignore[arg-type]


@given(SPECS)
def test_a_spec_survives_the_wire(spec: FunctionSpec) -> None:
    spec = msgspec.structs.replace(spec, labels={k: v for k, v in spec.labels.items() if k != "faas_function"})
    document = msgspec.json.encode(from_spec(spec))
    assert to_spec(decode(document, Deployment), spec.ref.namespace) == spec


@given(SPECS)
def test_a_status_says_what_was_deployed(spec: FunctionSpec) -> None:
    shown = msgspec.json.decode(msgspec.json.encode(from_status(status(spec), POLICY)))
    deployed = msgspec.json.decode(msgspec.json.encode(from_spec(spec)))
    assert shown.pop("name") == deployed.pop("service")
    assert shown["labels"].pop("faas_function") == spec.ref.name
    deployed["labels"].pop("faas_function", None)
    assert {key: shown[key] for key in deployed} == deployed
    assert {"labels", "annotations", "replicas", "createdAt"} <= set(shown)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
) | st.fixed_dictionaries({}, optional={field: st.none() | st.text() | st.dictionaries(st.text(), st.text()) | st.lists(st.text())
                           for field in ("service", "image", "envProcess", "envVars", "labels", "annotations", "secrets",
                                         "constraints", "limits", "requests", "namespace")}))  # fmt: skip
def test_any_json_is_a_spec_or_refused(document: object) -> None:
    try:
        spec = to_spec(decode(msgspec.json.encode(document), Deployment), NamespaceName("dev"))
    except HilbertError as exc:
        said = exc.message
        assert said
        return
    assert spec.ref.namespace == "dev"


def test_the_smallest_status() -> None:
    spec = FunctionSpec(ref=REF, image="i")
    found = from_status(status(spec, replicas=0, available=0, phase=Phase.IDLE), POLICY)
    assert msgspec.json.decode(msgspec.json.encode(found)) == {
        "name": "f",
        "image": "i",
        "namespace": "dev",
        "labels": {"faas_function": "f"},
        "annotations": {},
        "createdAt": "2024-05-01T10:00:00Z",
        "hilbert": {
            "phase": "idle",
            "generation": 3,
            "timeouts": {"firstByte": "1m0s", "idle": "5m0s", "total": "0s", "activation": "250ms"},
        },
    }


def test_the_largest_status() -> None:
    spec = FunctionSpec(
        ref=REF,
        image="ghcr.io/x/y:latest",
        process="cat",
        env={"A": "1.10"},
        labels={"a": "b", "faas_function": "forged"},
        annotations={"topic": "x"},
        secrets=(SecretName("s"),),
        constraints=("a=b",),
        limits=Resources(memory=Quantity.parse("1Gi"), devices={"nvidia.com/gpu": Quantity.parse("1")}),
        requests=Resources(cpu=Quantity.parse("100m")),
        read_only_root=True,
    )
    observed = status(
        spec,
        ready_generation=2,
        phase=Phase.FAILED,
        reason="CrashLoop",
        message="exit status 1",
        placement={"sandbox": "bubblewrap"},
        usage=Usage(cpu_millis=1.5, memory_bytes=2048),
    )
    found: Mapping[str, object] = msgspec.json.decode(
        msgspec.json.encode(from_status(observed, POLICY, invocations=7, with_usage=True))
    )
    assert found["labels"] == {"a": "b", "faas_function": "f"}
    assert found["limits"] == {"memory": "1Gi", "nvidia.com/gpu": "1"}
    assert found["requests"] == {"cpu": "100m"}
    assert found["usage"] == {"cpu": 1.5, "totalMemoryBytes": 2048.0}
    assert (found["invocationCount"], found["replicas"], found["availableReplicas"]) == (7, 2, 1)
    assert (found["envProcess"], found["envVars"], found["readOnlyRootFilesystem"]) == ("cat", {"A": "1.10"}, True)
    detail = found["hilbert"]
    assert isinstance(detail, dict)
    assert (detail["reason"], detail["readyGeneration"], detail["placement"]) == (
        "CrashLoop",
        2,
        {"sandbox": "bubblewrap"},
    )
    assert "usage" not in msgspec.json.decode(msgspec.json.encode(from_status(observed, POLICY)))


def test_null_is_empty_everywhere() -> None:
    fields = (
        "namespace",
        "envProcess",
        "envVars",
        "constraints",
        "secrets",
        "labels",
        "annotations",
        "limits",
        "requests",
    )
    document = {"service": "f", "image": "i", "readOnlyRootFilesystem": None, **dict.fromkeys(fields)}
    assert to_spec(decode(msgspec.json.encode(document), Deployment), NamespaceName("dev")) == FunctionSpec(
        ref=REF, image="i"
    )


def test_null_values_of_maps_are_the_empty_text() -> None:
    document = b'{"service": "f", "image": "i", "envVars": {"A": null}, "labels": {"a": null}}'
    spec = to_spec(decode(document, Deployment), NamespaceName("dev"))
    assert (spec.env, spec.labels) == ({"A": ""}, {"a": ""})


def test_secrets_are_named_once() -> None:
    document = b'{"service": "f", "image": "i", "secrets": ["b", "a", "b"]}'
    assert to_spec(decode(document, Deployment), NamespaceName("dev")).secrets == ("b", "a")


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2024, 5, 1, 10, 0, 0, tzinfo=UTC), "2024-05-01T10:00:00Z"),
        (datetime(2024, 5, 1, 10, 0, 0, 120_000, tzinfo=UTC), "2024-05-01T10:00:00.12Z"),
        (datetime(2024, 5, 1, 10, 0, 0, 1, tzinfo=timezone(timedelta(hours=2))), "2024-05-01T08:00:00.000001Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
    ],
)
def test_moments_as_go_prints_them(moment: datetime, text: str) -> None:
    assert rfc3339(moment) == text


def test_the_names_on_the_wire_are_openfaass() -> None:
    names = {field.encode_name for field in msgspec.structs.fields(Function)}
    assert names == {
        "name", "image", "namespace", "envProcess", "envVars", "constraints", "secrets", "labels", "annotations", "limits",
        "requests", "readOnlyRootFilesystem", "invocationCount", "replicas", "availableReplicas", "createdAt", "usage", "hilbert",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("memory", "meant"),
    [
        ("40m", "40Mi"),
        ("128", "128Mi"),
        ("64k", "64Mi"),
        ("1023Ki", "1023Mi"),
        ("64mi", "64Mi"),
        ("128MB", "128Mi"),
        ("1.5 gb", "1.5Gi"),
    ],
)
def test_a_limit_in_which_nothing_can_start_is_refused(memory: str, meant: str) -> None:
    """F16: it is a slip, and the hint says what was meant. A request of that size means no more than it says."""
    given = {"service": "f", "image": "i", "limits": {"memory": memory}}
    with pytest.raises(HilbertError, match=r"limits\.memory") as caught:
        to_spec(decode(msgspec.json.encode(given), Deployment), NamespaceName("fn"))
    assert f"did you mean {meant}?" in caught.value.hint
