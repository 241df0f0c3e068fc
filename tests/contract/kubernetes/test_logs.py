"""What Pods wrote, for one call: the kubelet keeps lines and not whose they are, so the lines that name the call are its."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

import pytest

from hilbert.core.model import FunctionSpec, LogLine, LogQuery
from hilbert.core.values import FunctionRef
from hilbert.providers.kubernetes.provider import KubernetesProvider
from support.cluster import Double, until

pytestmark = [pytest.mark.anyio, pytest.mark.double("lines are written into the Pod's log")]

REF = FunctionRef.parse("echo")


@pytest.fixture
async def write(cluster: Double, provider: KubernetesProvider) -> Callable[[str], None]:
    """Adds a line to the log of the function's Pod, which runs."""
    await provider.apply(FunctionSpec(ref=REF, image="echo:1"))
    await until(lambda: provider._state.endpoints((str(REF.namespace), str(REF.name))))
    (pod,) = cluster.objects("pods", REF.namespace)
    return cluster.kubelet.log(pod["metadata"]["uid"], str(REF.name)).write


async def test_lines_that_name_the_call_are_given_however_many_came_after(
    write: Callable[[str], None], provider: KubernetesProvider
) -> None:
    """U3. `tail` counts lines of the call."""
    for line in ("POST / - 200 OK [a-1]", "call a-1 begins", "a-12 is another", "call a-1 ends", *"xyz"):
        write(line)
    found = [line.text async for line in provider.read_logs(LogQuery(ref=REF, call_id="a-1"))]
    assert found == ["POST / - 200 OK [a-1]", "call a-1 begins", "call a-1 ends"]
    newest = [line.text async for line in provider.read_logs(LogQuery(ref=REF, call_id="a-1", tail=1))]
    assert newest == ["call a-1 ends"]
    assert [line async for line in provider.read_logs(LogQuery(ref=REF, call_id="b"))] == []


async def test_a_call_is_followed(write: Callable[[str], None], provider: KubernetesProvider) -> None:
    write("a-1 begins")
    reading = provider.read_logs(LogQuery(ref=REF, call_id="a-1", follow=True))
    async with aclosing(cast(AsyncGenerator[LogLine], reading)) as lines:
        first = await anext(lines)
        write("a-2 is another")
        write("a-1 ends")
        second = await anext(lines)
    assert [first.text, second.text] == ["a-1 begins", "a-1 ends"]
