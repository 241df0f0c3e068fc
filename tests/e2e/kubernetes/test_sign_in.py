"""Tokens, and who may do what, with two gateways in a cluster: made at one, in force at both, and gone from both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.cluster import until
from support.gateways import Session, session

pytestmark = pytest.mark.anyio

ACCESS = """
apiVersion: iam.openfaas.com/v1
kind: Policy
metadata: {name: dev-rw, namespace: openfaas}
spec:
  statement:
  - {sid: rw, effect: Allow, action: ["Function:*"], resource: ["dev:*"]}
---
apiVersion: iam.openfaas.com/v1
kind: Role
metadata: {name: developers, namespace: openfaas}
spec:
  policy: [dev-rw]
  principal: {"jwt:sub": [alice]}
"""


@pytest.fixture
async def user(tmp_path: Path) -> AsyncIterator[Session]:
    async with session(tmp_path, replicas=2) as user:
        yield user


async def test_two_gateways_agree(user: Session) -> None:
    await user.hilbert("namespace", "create", "dev")
    made = await user.hilbert("token", "create", "ci", "--namespace", "dev", "--role", "viewer", "--expires", "1h")
    mine = {"Authorization": f"Bearer {made.out.strip()}"}

    async def statuses() -> list[int]:
        asked = [await user.http.get(f"{url}/system/functions?namespace=dev", headers=mine) for url in user.gateways]
        return [answer.status_code for answer in asked]

    async def known() -> bool:
        return await statuses() == [200, 200]

    async def refused() -> bool:
        return await statuses() == [401, 401]

    await until(known)
    await user.hilbert("token", "revoke", "ci", "--yes")
    await until(refused)

    async def one_set_of_keys() -> bool:
        sets = [(await user.http.get(f"{url}/.well-known/jwks.json")).json() for url in user.gateways]
        return bool(sets[0]["keys"]) and sets[0] == sets[1]

    await until(one_set_of_keys)

    await user.kubectl("apply", "-f", "-", stdin=ACCESS)

    async def told() -> bool:
        found = [await user.api("GET", "/system/iam/roles/developers", url=url) for url in user.gateways]
        return [answer.status_code for answer in found] == [200, 200]

    await until(told)
    refusal = await user.hilbert("iam", "apply", "-f", "-", stdin=ACCESS, expect=1)
    assert "kubectl" in refusal.error
    await user.kubectl("delete", "roles.iam.openfaas.com", "developers", "--namespace", "openfaas")

    async def gone() -> bool:
        found = [await user.api("GET", "/system/iam/roles/developers", url=url) for url in user.gateways]
        return [answer.status_code for answer in found] == [404, 404]

    await until(gone)
