"""`hilbert install kubernetes` on an empty cluster, until gateways answer in it as they would in their containers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kubernetes_double import ApiServer, Outcome, scripts
from support.authority import make_authority
from support.cluster import ACCOUNT, until
from support.gateways import BIN, ECHO, IMAGE, Session, can_sandbox, function, session

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.skipif(not can_sandbox(), reason="only root can give a Pod mounts of its own")
async def test_gateways_run_as_their_containers_run_them(tmp_path: Path, authority: Path) -> None:
    """Read-only, as an ordinary user, on the service account's token and certificate, with folders that root made."""
    async with session(tmp_path, sandboxed=True, replicas=2, authority=authority) as user:
        await user.kubectl("apply", "-f", "-", stdin=function("echo", "openfaas-fn"))
        await until(lambda: user.pods("faas_function=echo", "openfaas-fn"))
        for url in user.gateways:
            await until(lambda url=url: is_called(user, url))


@pytest.mark.skipif(not can_sandbox(), reason="only root can give a Pod mounts of its own")
async def test_a_token_that_the_cluster_replaces_is_read_again(tmp_path: Path, authority: Path) -> None:
    async with session(tmp_path, sandboxed=True, authority=authority) as user:
        cluster = user.cluster
        (life,) = [life for life in cluster.kubelet._lives.values() if life.key[0] == "openfaas"]
        assert life.running is not None
        token = life.running.folder / "account" / "token"
        cluster.access.tokens.revoke(token.read_text())
        token.write_text(cluster.token(ACCOUNT))
        await user.hilbert("deploy", "--image", ECHO, "--name", "echo")
        assert (await user.call("echo", "hello")).text == "hello"
        cluster.chaos.close_watches()
        await user.hilbert("deploy", "--image", ECHO, "--name", "late")
        assert (await user.call("late", "hello")).text == "hello"


async def test_an_installation_without_cluster_wide_rights_serves_its_list_and_sees_nothing_else(
    tmp_path: Path,
) -> None:
    async with session(tmp_path, "--no-cluster-role", "--namespaces", "dev-fn,prod-fn") as user:
        cluster = user.cluster
        assert not [
            item
            for plural in ("clusterroles", "clusterrolebindings")
            for item in cluster.objects(plural, group="rbac.authorization.k8s.io")
            if "hilbert" in item["metadata"]["name"]
        ]
        assert (await user.api("GET", "/system/namespaces")).json() == ["dev-fn", "prod-fn"]
        await user.hilbert("deploy", "--image", ECHO, "--name", "echo", "--namespace", "prod-fn", "--env", "SAY=prod ")
        await user.kubectl("apply", "-f", "-", stdin=function("echo", "dev-fn", environment={"SAY": "dev "}))
        for name in ("dev", "prod"):
            await until(lambda name=name: says(user, f"echo.{name}-fn", f"{name} hello"))

        await user.kubectl("create", "namespace", "other")
        await user.kubectl("annotate", "namespace/other", "openfaas=1")
        assert (await user.hilbert("namespace", "create", "more", expect=1)).error.startswith("error: ")
        assert (await user.hilbert("list", "--namespace", "other", expect=1)).error.startswith("error: ")
        inside = ("/namespaces/dev-fn", "/namespaces/prod-fn", "/namespaces/openfaas/")
        asked = [call for call in cluster.requests if call.user == ACCOUNT]
        assert asked
        assert not [call.path for call in asked if call.status == 403 or not any(part in call.path for part in inside)]


async def says(user: Session, name: str, text: str) -> bool:
    answer = await user.call(name, "hello")
    return answer.status_code == 200 and answer.text == text


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (scripts.crashing(3, log=("starting", "error: no such setting")), r"last output: starting \| error: no such"),
        (scripts.absent(IMAGE), f"the image cannot be pulled: .*{IMAGE}: not found"),
        (scripts.unlabelled(), "no node can run the Pod: .*node affinity/selector"),
    ],
    ids=["crashes", "absent", "unschedulable"],
)
async def test_waiting_says_why_a_gateway_does_not_come(tmp_path: Path, outcome: Outcome, said: str) -> None:
    async with ApiServer() as cluster:
        cluster.images[IMAGE] = outcome
        user = Session(cluster, tmp_path)
        words = ("install", "kubernetes", "--image", IMAGE, "--wait", "--timeout", "3s")
        done = await user.run(BIN / "hilbert", *words, expect=1)
        await user.http.aclose()
        assert re.search(f"0 of 2 replicas are ready; .*{said}", done.error), done.error
        assert "hint: kubectl --namespace openfaas describe deployment gateway" in done.error


async def is_called(user: Session, url: str) -> bool:
    answer = await user.call("echo", "hello", url=url)
    return answer.status_code == 200 and answer.text == "hello"
