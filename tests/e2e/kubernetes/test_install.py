"""`hilbert install kubernetes` on an empty cluster, until gateways answer in it as they would in their containers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.cluster import until
from support.gateways import Session, can_sandbox, function, session

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authority")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=double", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key", "-out", "cert"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_bytes((folder / "key").read_bytes() + (folder / "cert").read_bytes())
    return both


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
