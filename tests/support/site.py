"""A whole gateway without processes of functions: a worker, the REST API behind it, and a victim to be kept from harm."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from hilbert.api.app import create_app
from hilbert.api.services import Services
from hilbert.core.model import FunctionSpec, Secret
from hilbert.core.settings import Settings
from hilbert.core.values import DEFAULT_NAMESPACE, FunctionRef, SecretName
from hilbert.iam.basic import Credentials
from hilbert.providers.memory import MemoryProvider
from support.api import serving
from support.dataplane import Plane
from support.replicas import Call

NAME = "gateway.test"


class Site:
    """A worker with the whole REST API behind it, and one victim: a function, and a secret that must stay."""

    def __init__(self, credentials: Credentials | None) -> None:
        self.plane = Plane()
        self.provider = MemoryProvider()
        self.services = Services(provider=self.provider, settings=Settings(), credentials=credentials)
        self.calls: Callable[[], list[Call]] = list
        """What the newest function was asked."""
        self._ready = threading.Event()
        self._leave = asyncio.Event()
        self._serving = asyncio.run_coroutine_threadsafe(self._serve(), self.plane._loop)
        assert self._ready.wait(20)

    async def _serve(self) -> None:
        victim = FunctionRef.parse("victim")
        await self.provider.apply(FunctionSpec(ref=victim, image="victim:1"))
        await self.provider.create_secret(Secret(DEFAULT_NAMESPACE, SecretName("treasure"), b"gold"))
        async with serving(create_app(self.services), self.plane.folder / "control.sock"):
            self._ready.set()
            await self._leave.wait()
        await self.provider.close()

    @property
    def port(self) -> int:
        return self.plane.address[1]

    def url(self, path: str, host: str = NAME) -> str:
        return f"http://{host}:{self.port}{path}"

    def function(self, html: str, *, headers: str = "", paths: dict[str, tuple[str, str]] | None = None) -> str:
        """A function whose page is `html`, with whole lines of headers; `paths` have a body and headers of their own."""

        def script(call: Call) -> None:
            call.body()
            path = urlsplit(call.head.start.split(b" ")[1].decode()).path
            body, lines = (paths or {}).get(path, (html, headers))
            kind = "" if "content-type" in lines.lower() else "Content-Type: text/html\n"
            call.answer(body.encode(), headers=f"{kind}{lines}")

        name, replicas = self.plane.function(script)
        self.calls = lambda: [one for replica in replicas for one in replica.calls]
        return name

    def unchanged(self) -> bool:
        """Whether the victim's function and secret are all there is, as they were."""

        async def look() -> bool:
            functions = await self.provider.list(DEFAULT_NAMESPACE)
            secrets = await self.provider.list_secrets(DEFAULT_NAMESPACE)
            namespaces = await self.provider.list_namespaces()
            found = [(one.spec.ref.name, one.spec.image, one.replicas) for one in functions]
            return (found, list(secrets), len(namespaces)) == ([("victim", "victim:1", 1)], ["treasure"], 1)

        return asyncio.run_coroutine_threadsafe(look(), self.plane._loop).result(10)

    def close(self) -> None:
        self.plane._loop.call_soon_threadsafe(self._leave.set)
        self._serving.result(20)
        self.plane.close()
