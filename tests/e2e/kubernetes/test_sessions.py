"""What a user does with `kubectl` and `hilbert`, from the first namespace to the last call."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.cluster import until
from support.gateways import ECHO, Session, function, session

pytestmark = pytest.mark.anyio

NS = "staging-fn"
_FLOOR = 5.0
"""Seconds within which what takes one on a machine at rest must have happened on a busy one."""


@pytest.fixture
async def user(tmp_path: Path) -> AsyncIterator[Session]:
    async with session(tmp_path) as user:
        yield user


async def names(user: Session) -> list[str]:
    answer = await user.api("GET", "/system/namespaces")
    found: list[str] = answer.json()
    return found


async def says(user: Session, name: str, text: str, *, body: str = "") -> bool:
    answer = await user.call(name, body)
    return answer.status_code == 200 and answer.text == text


async def test_a_namespace_made_with_kubectl_is_a_tenant_until_its_annotation_goes(user: Session) -> None:
    await user.kubectl("create", "namespace", NS)
    assert NS not in (await user.hilbert("namespaces")).out
    await user.kubectl("annotate", f"namespace/{NS}", "openfaas=1")
    began = time.monotonic()
    await until(lambda: is_listed(user))
    assert time.monotonic() - began < _FLOOR
    assert NS in (await user.hilbert("namespaces")).out

    await user.hilbert("deploy", "--image", ECHO, "--name", "echo", "--namespace", NS, "--env", "SAY=hi ")
    assert await says(user, f"echo.{NS}", "hi there", body="there")
    pods = {pod["metadata"]["uid"] for pod in user.pods("faas_function=echo", NS)}

    await user.kubectl("annotate", f"namespace/{NS}", "openfaas-")
    await until(lambda: is_gone(user))
    assert (await user.hilbert("list", "--namespace", NS, expect=1)).error.startswith("error: ")
    assert {pod["metadata"]["uid"] for pod in user.pods("faas_function=echo", NS)} == pods, "its workloads go on"

    await user.kubectl("annotate", f"namespace/{NS}", "openfaas=1")
    await until(lambda: says(user, f"echo.{NS}", "hi there", body="there"))


async def is_listed(user: Session) -> bool:
    return NS in await names(user)


async def is_gone(user: Session) -> bool:
    return NS not in await names(user) and (await user.call(f"echo.{NS}")).status_code == 404


async def test_functions_come_change_and_go_with_kubectl(user: Session) -> None:
    await user.kubectl("apply", "-f", "-", stdin=function("one", "openfaas-fn", environment={"SAY": "one"}))
    await until(lambda: says(user, "one", "one"))
    await until(lambda: is_ready(user, "one"))
    table = await user.kubectl("get", "functions", "-A")
    head, row = (line.split() for line in table.splitlines())
    assert head[:4] == ["NAMESPACE", "NAME", "IMAGE", "READY"]
    assert row[:4] == ["openfaas-fn", "one", ECHO, "True"]
    assert "one" in (await user.hilbert("list")).out

    await user.kubectl("patch", "function/one", "-n", "openfaas-fn", "--type", "merge", "-p",
                       json.dumps({"spec": {"environment": {"SAY": "two"}}}))  # fmt: skip
    await until(lambda: says(user, "one", "two"))
    await user.hilbert("deploy", "--image", ECHO, "--name", "one", "--env", "SAY=three")
    assert await says(user, "one", "three"), "deploy waits for the version that it brings"
    spec = json.loads(await user.kubectl("get", "function/one", "-n", "openfaas-fn", "-o", "json"))["spec"]
    assert spec["environment"]["SAY"] == "three", "one object, whoever writes it"

    await user.kubectl("delete", "function/one", "-n", "openfaas-fn")
    await until(lambda: is_unknown(user, "one"))
    await until(lambda: not user.cluster.objects("deployments", "openfaas-fn", group="apps"))
    await until(lambda: not user.cluster.objects("pods", "openfaas-fn"))


async def is_ready(user: Session, name: str) -> bool:
    return "True" in (await user.kubectl("get", f"function/{name}", "-n", "openfaas-fn"))


async def is_unknown(user: Session, name: str) -> bool:
    return (await user.call(name)).status_code == 404


async def test_a_function_at_zero_is_woken_by_a_call(user: Session) -> None:
    await user.hilbert("deploy", "--image", ECHO, "--name", "echo")
    await user.hilbert("scale", "echo", "0")
    await until(lambda: not user.pods("faas_function=echo", "openfaas-fn"))
    answers = await gathered(user, 5)
    assert answers == [(200, "x")] * 5
    assert len(user.pods("faas_function=echo", "openfaas-fn")) == 1
    deployment = user.cluster.object("deployments", "echo", "openfaas-fn", group="apps")
    assert deployment is not None
    assert deployment["spec"]["replicas"] == 1


async def gathered(user: Session, count: int) -> list[tuple[int, str]]:
    import asyncio

    answers = await asyncio.gather(*(user.call("echo", "x") for _ in range(count)))
    return [(answer.status_code, answer.text) for answer in answers]


async def test_secrets_logs_and_the_walls_between_namespaces(user: Session) -> None:
    for name in ("one-fn", "two-fn"):
        await user.hilbert("namespace", "create", name)
    await user.hilbert("secret", "create", "word", "--namespace", "one-fn", "--from-literal", "sesame")
    await user.hilbert("deploy", "--image", ECHO, "--name", "keeper", "--namespace", "one-fn", "--secret", "word")
    answer = await user.http.get(f"{user.url}/function/keeper.one-fn", headers={"X-Secret": "word"})
    assert answer.text == "sesame"

    refused = await user.hilbert(
        "deploy", "--image", ECHO, "--name", "thief", "--namespace", "two-fn", "--secret", "word", expect=1
    )
    assert "word" in refused.error
    assert "word" not in (await user.hilbert("secret", "list", "--namespace", "two-fn")).out
    assert "keeper" not in (await user.hilbert("list", "--namespace", "two-fn")).out
    assert (await user.call("keeper.two-fn")).status_code == 404
    assert (await user.hilbert("logs", "keeper", "--namespace", "two-fn", expect=1)).error.startswith("error: ")
    assert (await user.hilbert("remove", "keeper", "--namespace", "two-fn", expect=1)).error
    policies = {
        item["metadata"]["name"]
        for item in user.cluster.objects("networkpolicies", "two-fn", group="networking.k8s.io")
    }
    assert {"hilbert-deny", "hilbert-from-gateway"} <= policies
    assert user.pods("faas_function=keeper", "one-fn")


async def test_logs_of_all_replicas_are_merged_and_followed(user: Session) -> None:
    await user.hilbert("deploy", "--image", ECHO, "--name", "echo", "--label", "com.openfaas.scale.min=2")
    await until(lambda: len(user.pods("faas_function=echo", "openfaas-fn")) == 2)
    await until(lambda: available(user, 2))
    url = f"{user.url}/system/logs?name=echo&namespace=openfaas-fn&follow=true"
    async with user.http.stream("GET", url, auth=("admin", user.password)) as answer:
        lines = answer.aiter_lines()
        await gathered(user, 40)
        seen: set[str] = set()
        async for line in lines:
            entry = json.loads(line)
            if "called with" in entry["text"]:
                seen.add(entry["instance"])
            if len(seen) == 2:
                break
        await user.kubectl("delete", "pod", min(seen), "-n", "openfaas-fn")
        late = await until(lambda: [name for name in replicas(user) if name not in seen])
        await until(lambda: available(user, 2))
        await gathered(user, 40)
        async for line in lines:
            entry = json.loads(line)
            if "called with" in entry["text"] and entry["instance"] in late:
                break
    stored = (await user.hilbert("logs", "echo", "--tail=false")).out
    assert stored.count("called with") >= 40


def replicas(user: Session) -> list[str]:
    return [pod["metadata"]["name"] for pod in user.pods("faas_function=echo", "openfaas-fn")]


async def available(user: Session, count: int) -> bool:
    answer = await user.api("GET", "/system/function/echo")
    return answer.status_code == 200 and answer.json()["availableReplicas"] == count
