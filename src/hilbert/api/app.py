"""The REST API as one ASGI application: found, let in, read, decided on, done, answered, counted."""

from __future__ import annotations

import asyncio
import functools
import time

import uvicorn

from hilbert.api import decide, fair
from hilbert.api.asgi import JSON, TEXT, Answer, App, ClientLeft, Receive, Request, Scope, Send, send_answer
from hilbert.api.door import Door
from hilbert.api.endpoint import Call
from hilbert.api.endpoints import ENDPOINTS
from hilbert.api.held import HeldBodies
from hilbert.api.problems import Problematic, Refusal, Retold, problem_of
from hilbert.api.router import Match, Router
from hilbert.api.services import Services
from hilbert.api.trail import Trail


def create_app(services: Services) -> App:
    """The whole API. Its way of a request is `docs/internals/api.md`."""
    router = Router(ENDPOINTS)
    door = Door(services.credentials, services.token_store, services.sign_on, hosts=services.hosts)
    limit = services.settings.gateway.max_api_body.units
    bodies = HeldBodies(limit)

    async def run(request: Request, match: Match | None, trail: Trail) -> Answer:
        public = match is not None and match.is_public(request.method)
        if request.read_twice and not public:
            raise Refusal(400, "bad-request", f"a request must have one {request.read_twice} header")
        caller = door.admit(request.method, request.headers, public=public)
        trail.caller, trail.admitted = caller, True
        if match is None:
            raise Refusal(404, "no-such-path", "404 page not found")
        endpoint = match.endpoint(request.method)
        call = Call(endpoint, services, request, caller, match.name)
        call.whoever = functools.partial(door.identify, request.headers)
        trail.call = call
        with bodies.of(caller, request.headers.get("x-forwarded-for", "")) as take:
            if endpoint.is_raw:
                call.raw = await request.raw(limit, take)
            elif endpoint.body is not None:
                call.data = await request.body(limit, take)
            async with fair.turn(call):
                call.target = await endpoint.target(call)
                decide.check(call)
                fair.check_pace(call)
                await trail.may_begin()
                return await endpoint.handler(call)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = time.monotonic()
        request = Request(scope, receive)
        match = router.find(request.path)
        path = match.path if match is not None else "other"
        trail = Trail(services.auditor, request, match)
        try:
            answer = await run(request, match, trail)
        except ClientLeft:
            answer = Answer(400)  # For the count; nobody is there to read it.
        except Refusal as exc:
            trail.failed(exc)
            path = "other"  # It never came as far as the endpoint.
            answer = _refusal(problem_of(exc, request.headers))
        except Exception as exc:  # noqa: BLE001 - whatever fails becomes an answer, and an entry of the log
            trail.failed(exc)
            answer = _refusal(problem_of(exc, request.headers, _retold(match, request.method)))
        await trail.end(answer)
        try:
            await send_answer(answer, receive, send)
        finally:
            services.traffic.count(request.method, path, answer.status, time.monotonic() - started)

    return app


def _retold(match: Match | None, method: str) -> Retold:
    found = match.methods.get(method) if match is not None else None
    return found.retold if found is not None else {}


def _refusal(problem: Problematic) -> Answer:
    return Answer(problem.status, problem.body, JSON if problem.as_json else TEXT, problem.headers)


def server_config(app: App, *, protocol: type[asyncio.Protocol] | None = None) -> uvicorn.Config:
    """How uvicorn is to serve it: behind the workers, which have dealt with strangers' bytes already. `protocol` bounds connections."""
    return uvicorn.Config(
        app,
        http=protocol or "httptools",
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=300,
        timeout_graceful_shutdown=3,
    )
