"""What a runtime has to fetch before a start is fetched with the namespace's own login, and holds up nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hilbert.core.errors import Invalid, InvalidSpec
from hilbert.core.model import ANNOTATION_PULL_SECRET, LABEL_SCALE_MIN, Namespace, Secret
from hilbert.core.values import DEFAULT_NAMESPACE, SecretName
from hilbert.testing.harness import eventually, spec_of, watching
from support.hosts import HostHarness
from support.runtimes import PreparingRuntime

MANY = "40"
"""More than start at once."""


@pytest.fixture
async def harness() -> AsyncIterator[HostHarness]:
    harness = HostHarness(PreparingRuntime)
    await harness.start()
    yield harness
    await harness.close()


def runtime_of(harness: HostHarness) -> PreparingRuntime:
    assert isinstance(harness.runtime, PreparingRuntime)
    return harness.runtime


async def put_secret(harness: HostHarness, name: str, value: bytes) -> None:
    await harness.provider.create_secret(Secret(namespace=DEFAULT_NAMESPACE, name=SecretName(name), value=value))


async def test_others_start_while_images_are_fetched(harness: HostHarness) -> None:
    slow = spec_of(harness, name="slow", image="slow", labels={LABEL_SCALE_MIN: MANY})
    await harness.provider.apply(slow)
    await eventually(lambda: len(runtime_of(harness).asked) == int(MANY))
    quick = spec_of(harness, name="quick")
    await harness.provider.apply(quick)
    async with watching(harness.provider) as table:
        await table.ready(quick.ref)
        runtime_of(harness).here.set()
        await table.ready(slow.ref, int(MANY))


async def test_nobody_waits_for_what_is_not_wanted_any_more(harness: HostHarness) -> None:
    slow = spec_of(harness, image="slow")
    await harness.provider.apply(slow)
    await eventually(lambda: runtime_of(harness).asked)
    await harness.provider.remove(slow.ref)
    await eventually(lambda: runtime_of(harness).cancelled == 1)
    assert harness.world.started == []


async def test_what_cannot_be_fetched_is_the_functions_fault_and_tried_again(harness: HostHarness) -> None:
    spec = spec_of(harness, image="missing")
    await harness.provider.apply(spec)
    await eventually(lambda: len(runtime_of(harness).asked) > 1)
    status = await harness.provider.get(spec.ref)
    assert "image missing cannot be fetched" in status.message
    assert harness.world.started == []


async def test_the_login_is_the_namespaces_or_the_functions_own(harness: HostHarness) -> None:
    await put_secret(harness, "ours", b"namespace")
    await put_secret(harness, "mine", b"function")
    await harness.provider.apply(spec_of(harness, name="none"))
    await harness.provider.update_namespace(
        Namespace(name=DEFAULT_NAMESPACE, annotations={ANNOTATION_PULL_SECRET: "ours"})
    )
    await harness.provider.apply(spec_of(harness, name="ours"))
    await harness.provider.apply(spec_of(harness, name="mine", annotations={ANNOTATION_PULL_SECRET: "mine"}))
    asked = runtime_of(harness).asked
    await eventually(lambda: len(asked) == 3)
    assert {spec.ref.name: secret for spec, _, secret in asked} == {
        "none": b"",
        "ours": b"namespace",
        "mine": b"function",
    }


async def test_a_login_that_is_not_there_is_waited_for(harness: HostHarness) -> None:
    spec = spec_of(harness, annotations={ANNOTATION_PULL_SECRET: "later"})
    await harness.provider.apply(spec)
    await eventually(lambda: _message(harness))
    assert runtime_of(harness).asked == []
    await put_secret(harness, "later", b"x")
    async with watching(harness.provider) as table:
        await table.ready(spec.ref)


def _message(harness: HostHarness) -> bool:
    (cell,) = harness.provider._reconciler.cells.values()
    return "unable to find secret: later" in cell.message


async def test_names_that_no_secret_can_have(harness: HostHarness) -> None:
    for wrong in ("../x", "A", "x" * 300):
        with pytest.raises(InvalidSpec, match=ANNOTATION_PULL_SECRET):
            await harness.provider.apply(spec_of(harness, annotations={ANNOTATION_PULL_SECRET: wrong}))
        with pytest.raises(Invalid, match=ANNOTATION_PULL_SECRET):
            await harness.provider.update_namespace(
                Namespace(name=DEFAULT_NAMESPACE, annotations={ANNOTATION_PULL_SECRET: wrong})
            )
