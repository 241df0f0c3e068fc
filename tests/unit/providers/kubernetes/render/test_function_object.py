"""Function objects and specs: nothing is lost on the way there and back, and kubectl's mistakes are named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.core.errors import InvalidSpec
from hilbert.core.model import FunctionSpec, Resources
from hilbert.core.values import FunctionRef, Quantity, SecretName
from hilbert.providers.kubernetes.cluster.objects import FunctionObject, Meta
from hilbert.providers.kubernetes.render import function_object

names = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
texts = st.dictionaries(
    names, st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")), max_size=4
)
labels = st.dictionaries(names, names, max_size=4)
quantities = st.sampled_from(["1", "0.5", "128Mi", "1e3", "250m"]).map(Quantity.parse)
resources = st.builds(
    Resources,
    memory=quantities,
    cpu=st.none() | quantities,
    devices=st.dictionaries(st.just("nvidia.com/gpu"), quantities),
)


def read_back(manifest: dict[str, Any]) -> FunctionSpec:
    return function_object.to_spec_struct(msgspec.json.decode(msgspec.json.encode(manifest), type=FunctionObject))


@given(
    st.builds(
        FunctionSpec,
        ref=st.builds(FunctionRef, namespace=names, name=names),
        image=st.text(alphabet="abc/:.@", min_size=1),
        process=st.text(alphabet="abc $", max_size=5),
        env=texts,
        labels=labels,
        annotations=texts,
        secrets=st.lists(names.map(SecretName), max_size=3).map(tuple),
        constraints=st.lists(st.text(alphabet="a=b", max_size=5), max_size=3).map(tuple),
        limits=st.none() | resources,
        requests=st.none() | resources,
        read_only_root=st.booleans(),
    )
)
def test_there_and_back(spec: FunctionSpec) -> None:
    assert read_back(function_object.to_object(spec)) == spec


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"image": "i", "name": "other"}, "must equal metadata.name"),
        ({"name": "f"}, "spec.image"),
        ({"image": "i", "environment": {"A": 1}}, "spec.environment"),
        ({"image": "i", "environment": {"A B": "1"}}, "environment variable"),
        ({"image": "i", "labels": {"a": "not a label value"}}, "label a"),
        ({"image": "i", "secrets": ["../etc"]}, "secret name"),
        ({"image": "i", "secrets": "one"}, "spec.secrets"),
        ({"image": "i", "limits": {"cpu": "lots"}}, "spec.limits"),
        ({"image": "i", "limits": ["cpu"]}, "spec.limits"),
    ],
)
def test_mistakes_are_named(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        function_object.to_spec_struct(FunctionObject(metadata=Meta(name="f", namespace="n"), spec=spec))
