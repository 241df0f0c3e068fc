"""status, scale, log, token, finalize: the paths below an object."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx2

from kubernetes_double.checks.access import service_account
from kubernetes_double.checks.rbac import User
from kubernetes_double.serving import logs, scale
from kubernetes_double.serving.app import Answer, Call
from kubernetes_double.serving.negotiation import Form
from kubernetes_double.serving.status import ApiError, Json, method_not_allowed
from kubernetes_double.storage.store import Item

if TYPE_CHECKING:
    from kubernetes_double.serving.handlers import Handlers, Target


async def handle(handlers: Handlers, call: Call, target: Target, user: User, form: Form) -> Answer:
    if target.sub == "token" and call.method == "POST":
        return _token(handlers, call, target, user, form)
    if target.sub in ("status", "finalize"):
        return _status(handlers, call, target, user, form)
    if target.sub == "scale":
        return await scale.handle(handlers, call, target, user, form)
    if target.sub == "proxy":
        return await _proxy(handlers, call, target)
    if target.sub == "log" and call.method == "GET":
        return await logs.handle(handlers, call, target)
    raise method_not_allowed()


def _status(handlers: Handlers, call: Call, target: Target, user: User, form: Form) -> Answer:
    engine, resource = handlers.engine, target.resource
    if call.method in ("GET", "HEAD"):
        return handlers.one(200, resource, engine.find(resource, target.namespace, target.name), form, call)
    if call.method == "PATCH":
        obj, _, warnings = handlers.patched(call, target, user)
        return handlers.one(200, resource, Item(obj, 0), form, call, warnings)
    if call.method != "PUT":
        raise method_not_allowed()
    body, options = handlers.body(call, resource, user, "UpdateOptions")
    obj = engine.update(resource, target.namespace, target.name, body, options, target.sub)
    return handlers.one(200, resource, Item(obj, 0), form, call, options.warnings)


async def _proxy(handlers: Handlers, call: Call, target: Target) -> Answer:
    """`pods/NAME:PORT/proxy/PATH`: to the Pod, and its answer back as it is."""
    name, _, port = target.name.partition(":")
    pod = handlers.engine.find(handlers.server.resource("pods"), target.namespace, name).obj
    address = f"http://{pod['status'].get('podIP', '')}:{port or 80}/{target.rest}"
    try:
        async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
            answer = await client.request(call.method, address, params=call.query, content=call.body)
    except httpx2.HTTPError as exc:
        raise ApiError(503, f"error trying to reach service: {exc}", reason="ServiceUnavailable") from exc
    return Answer(answer.status_code, answer.content, answer.headers.get("content-type", "text/plain"))


def _token(handlers: Handlers, call: Call, target: Target, user: User, form: Form) -> Answer:
    engine, resource = handlers.engine, target.resource
    account = engine.find(resource, target.namespace, target.name).obj
    body, _ = handlers.body(call, resource, user, "CreateOptions", body_kind="TokenRequest")
    seconds = int((body.get("spec") or {}).get("expirationSeconds") or 3600)
    now = datetime.now(UTC)
    expires = now + timedelta(seconds=seconds)
    token = handlers.access.tokens.issue(
        service_account(target.namespace, target.name), expires=expires, bound=account["metadata"]["uid"]
    )
    value: Json = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": target.name,
            "namespace": target.namespace,
            "uid": account["metadata"]["uid"],
            "creationTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "spec": {
            "audiences": ["https://kubernetes.default.svc.cluster.local"],
            "expirationSeconds": seconds,
            "boundObjectRef": None,
        },
        "status": {"token": token, "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ")},
    }
    return handlers.encoded(201, value, form)
