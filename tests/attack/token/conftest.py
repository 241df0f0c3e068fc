"""A federation that trusts one provider, for tokens that it must not believe."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hilbert.core.access import parse_document
from hilbert.iam.federation import EXCHANGE, ID_TOKEN, Federation, Granted
from hilbert.iam.sqlite_shelf import SqliteShelves
from support.api import running, signing_in
from support.guarded import Guarded
from support.issuer import NOW, Issuer, issuer_object, policy_object, role_object


class Gate:
    """Where attackers bring their tokens. `now` is its time."""

    def __init__(self, federation: Federation, issuer: Issuer) -> None:
        self.federation, self.issuer = federation, issuer
        self.now = NOW

    async def exchange(self, token: str, **more: Any) -> Granted:
        form = {"grant_type": [EXCHANGE], "subject_token": [token], "subject_token_type": [ID_TOKEN], **more}
        return await self.federation.exchange(form)

    def replace(self, *documents: dict[str, Any]) -> None:
        self.federation.access.replace(parse_document(json.loads(json.dumps(one))) for one in documents)


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    issuer, shelves = Issuer(), SqliteShelves(tmp_path / "tokens.db")
    made: list[Gate] = []
    parts = await signing_in(shelves, fetch=issuer.fetch, clock=lambda: made[0].now if made else NOW)
    made.append(Gate(parts["sign_on"], issuer))
    made[0].replace(
        issuer_object(issuer),
        policy_object("p", ["dev:*"], ["Function:*"]),
        role_object("r", ["p"], principal={"jwt:sub": ["alice"]}),
    )
    yield made[0]
    shelves.close()


@pytest.fixture
async def guarded(anyio_backend: object) -> AsyncIterator[Guarded]:
    async with running() as api:
        for name in ("dev", "other"):
            await api.call("POST", "/system/namespace/", {"name": name, "labels": {"openfaas": "1"}})
        yield Guarded(api)
