"""`hilbert install kubernetes` on an empty cluster, until gateways answer in it as they would in their containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.authority import make_authority
from support.cluster import until
from support.gateways import Session, can_sandbox, function, session

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


async def is_called(user: Session, url: str) -> bool:
    answer = await user.call("echo", "hello", url=url)
    return answer.status_code == 200 and answer.text == "hello"
