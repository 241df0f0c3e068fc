"""A gateway with functions that ask their callers who they are, and a guard that hears what a worker hears."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from hilbert.dataplane.feed.messages import CallKeys
from hilbert.dataplane.guard import Admitted, Guard
from hilbert.iam.federation import EXCHANGE, ID_TOKEN
from hilbert.server.call_keys import KeyTeller
from support.api import Api


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Guarded:
    """A gateway, and a guard that was told what a worker is told."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.clock = Clock()
        self.guard = Guard(now=self.clock)
        self._teller = KeyTeller(api.services.token_store, api.services.sign_on, self._told)

    def _told(self, keys: CallKeys) -> None:
        self.guard.learn(keys)
        self.api.services.guard.learn(keys)

    def check(
        self, authorization: str, name: str = "f", *, namespace: str = "dev", source: str = "a"
    ) -> tuple[int, str]:
        found = self.guard.check(authorization.encode(), namespace, name, lambda: source)
        return (200, "") if isinstance(found, Admitted) else (found.status, found.message)

    async def token(self, role: str, namespace: str = "dev") -> str:
        made = await self.api.call("POST", "/system/tokens", {"name": "t", "role": role, "namespaces": [namespace]})
        return str(made.json["token"])

    async def revoke(self, token: str) -> None:
        await self.api.call("DELETE", f"/system/tokens/{token.split('_')[1]}")

    async def rotate(self) -> None:
        await self.api.call("POST", "/system/iam/rotate-key?revoke=true")
        self._teller.look()

    async def function_token(self, token: str, *audience: str) -> Any:
        form: dict[str, Any] = {
            "grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ID_TOKEN, "scope": "function",
        }  # fmt: skip
        if audience:
            form["audience"] = audience
        answer = await self.api.call(
            "POST", "/oauth/token", urlencode(form, doseq=True).encode(), user="",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )  # fmt: skip
        return answer.json
