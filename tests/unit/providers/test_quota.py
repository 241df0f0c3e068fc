"""What a namespace's annotations let its functions have: counted as Kubernetes counts."""

from __future__ import annotations

import pytest

from hilbert.core.errors import InvalidSpec, QuotaExceeded
from hilbert.core.model import FunctionSpec, Resources
from hilbert.core.values import FunctionRef, Quantity
from hilbert.providers import quota

Annotations = dict[str, str]


def resources(memory: str = "", cpu: str = "") -> Resources:
    return Resources(memory=Quantity.parse(memory) if memory else None, cpu=Quantity.parse(cpu) if cpu else None)


def spec(limits: Resources | None = None) -> FunctionSpec:
    return FunctionSpec(ref=FunctionRef.parse("f.dev"), image="i", limits=limits)


def test_what_states_no_limit_is_counted_with_the_one_that_it_gets() -> None:
    annotations = {"com.hilbert.quota.memory": "300Mi"}
    silent = quota.demand(2, None, None, annotations)
    quota.check(annotations, [], [silent], "f")
    with pytest.raises(QuotaExceeded, match="300Mi, and it would be 384Mi"):
        quota.check(annotations, [silent], [quota.demand(3, None, None, annotations)], "f")
    filled = quota.with_limits(spec(), annotations)
    assert filled.limits == resources(memory="128Mi")
    own = spec(resources(cpu="1"))
    assert quota.with_limits(own, annotations).limits == resources(memory="128Mi", cpu="1")
    assert quota.with_limits(own, {}) is own


@pytest.mark.parametrize(
    ("limits", "requests", "annotations", "counted"),
    [
        (None, resources(cpu="2"), {}, 2000),
        (resources(cpu="1"), None, {}, 1000),
        (None, None, {"com.hilbert.limits.requests-cpu": "300m", "com.hilbert.limits.cpu": "1"}, 300),
        (None, None, {"com.hilbert.limits.cpu": "700m"}, 700),
        (None, None, {}, 100),
    ],
)
def test_requests_are_ones_own_else_the_limit_else_the_namespaces(
    limits: Resources | None, requests: Resources | None, annotations: Annotations, counted: int
) -> None:
    annotations = {**annotations, "com.hilbert.quota.requests-cpu": f"{counted}m"}
    quota.check(annotations, [], [quota.demand(1, limits, requests, annotations)], "f")
    annotations["com.hilbert.quota.requests-cpu"] = f"{counted - 1}m"
    with pytest.raises(QuotaExceeded, match=f"it would be {counted}m"):
        quota.check(annotations, [], [quota.demand(1, limits, requests, annotations)], "f")


def test_only_what_grows_is_refused() -> None:
    """A quota that was lowered below what is there lets it shrink."""
    annotations = {"com.hilbert.quota.replicas": "1", "com.hilbert.quota.functions": "1"}
    five, four, six = (quota.Demand(count) for count in (5, 4, 6))
    quota.check(annotations, [five], [four], "f")
    quota.check(annotations, [five], [five], "f")
    with pytest.raises(QuotaExceeded, match=r"replicas is 1, and it would be 6"):
        quota.check(annotations, [five], [six], "f")


def test_an_administrator_switches_it_off() -> None:
    annotations = {"com.hilbert.quota.replicas": "1", "com.hilbert.tenant.quota": "off"}
    quota.check(annotations, [], [quota.Demand(9)], "f")
    assert not quota.is_limited(annotations)
    most = {"com.hilbert.limits.max-memory": "1Mi", "com.hilbert.tenant.limits": "off"}
    quota.check_resources(spec(resources(memory="1Gi")), most)
    with pytest.raises(InvalidSpec, match="1Gi"):
        quota.check_resources(spec(resources(memory="1Gi")), {"com.hilbert.limits.max-memory": "1Mi"})
