"""The OpenAPI document, made of the declarations of the endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, get_args

import msgspec

import hilbert
from hilbert.api.endpoint import Access, Endpoint, Query, anywhere, platform
from hilbert.api.problems import retelling, told
from hilbert.core import errors
from hilbert.core.errors import HilbertError
from hilbert.core.identity import Action
from hilbert.wire.problem import Problem

Json = dict[str, Any]

_STATUSES: Final = {
    400: "The request is wrong: its body, a name, or `namespace not valid`.",
    401: "No valid credentials, or a reserved namespace.",
    403: "Not allowed, or a quota is used up.",
    404: "It does not exist.",
    409: "It already exists, or something else is in the way.",
    413: "The body is too large.",
    422: "A parameter cannot be read.",
    429: "Too many wrong credentials from this address.",
    500: "Something failed; each line says what.",
    501: "Not available in this installation.",
    503: "What runs the functions cannot be reached, or a limit is reached.",
    507: "The disk of the state directory is full; nothing was changed.",
}
_TEMPLATE: Final = "#/components/schemas/{name}"
_NAME: Final = {"type": "string", "pattern": "^[-a-zA-Z_0-9.]+$"}


def document(endpoints: Iterable[Endpoint]) -> Json:
    """The whole description, as JSON types. OpenAPI 3.1."""
    described = [endpoint for endpoint in endpoints if endpoint.documented]
    bodies = [endpoint.body.kind for endpoint in described if endpoint.body is not None]
    answers = [endpoint.answer for endpoint in described if endpoint.answer is not None]
    problems = [endpoint.problem for endpoint in described if endpoint.problem is not None]
    kinds = list(dict.fromkeys([*bodies, *answers, *problems, Problem]))
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_TEMPLATE)
    by_kind = dict(zip(map(str, kinds), schemas, strict=True))
    paths: Json = {}
    for endpoint in described:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, by_kind)
    found = {
        "openapi": "3.1.0",
        "info": {
            "title": "Hilbert",
            "version": hilbert.__version__,
            "description": "The REST API of the gateway, compatible with OpenFaaS.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"basic": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
    }
    plain: Json = msgspec.json.decode(msgspec.json.encode(found))
    return plain


def refusals(endpoint: Endpoint) -> tuple[int, ...]:
    """Every status of a refusal: what the endpoint declares, and what follows from its access, target and body."""
    kinds: set[type[HilbertError]] = {*endpoint.errors}
    statuses: set[int] = set()
    if endpoint.access is not Access.PUBLIC:
        kinds.add(errors.Unauthenticated)
    if isinstance(endpoint.access, Action):
        kinds.add(errors.Forbidden)
    if endpoint.target not in (platform, anywhere):
        kinds |= {errors.Invalid, errors.NamespaceNotFound, errors.ReservedNamespace}
    if endpoint.body is not None:
        kinds.add(errors.Invalid)
        statuses.add(413)
    table = retelling(endpoint.retold)
    return tuple(sorted(statuses | {told(kind, table).status for kind in kinds}))


def _operation(endpoint: Endpoint, schemas: Json) -> Json:
    responses: Json = {str(endpoint.success): _success(endpoint, schemas)}
    for status in refusals(endpoint):
        problem = endpoint.problem if endpoint.problem is not None and status == 400 else Problem
        responses[str(status)] = {
            "description": _STATUSES[status],
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/json": {"schema": schemas[str(problem)]},
            },
        }
    operation: Json = {"tags": [endpoint.group], "summary": endpoint.summary, "responses": responses}
    parameters = [_parameter(query) for query in endpoint.query]
    if "{name}" in endpoint.path:
        parameters.insert(0, {"name": "name", "in": "path", "required": True, "schema": _NAME})
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": endpoint.body.empty is not None,
            "content": {"application/json": {"schema": schemas[str(endpoint.body.kind)]}},
        }
    if endpoint.form:
        fields = {field.name: {"type": "string", "description": field.description} for field in endpoint.form}
        required = [field.name for field in endpoint.form if field.required]
        schema = {"type": "object", "properties": fields, "required": required}
        operation["requestBody"] = {"content": {"application/x-www-form-urlencoded": {"schema": schema}}}
    if isinstance(endpoint.access, Action):
        operation["x-action"] = endpoint.access.value
    if endpoint.access is Access.PUBLIC:
        operation["security"] = []
    return operation


def _success(endpoint: Endpoint, schemas: Json) -> Json:
    if endpoint.answer is None:
        return {"description": "Done, or promised. No body."}
    if endpoint.media == "application/x-ndjson":
        content = {endpoint.media: {"schema": {"type": "string"}}}
        return {"description": f"One `{endpoint.answer.__name__}` a line.", "content": content}
    kind = endpoint.media.partition(";")[0]
    return {"description": "Found.", "content": {kind: {"schema": schemas[str(endpoint.answer)]}}}


def _parameter(query: Query) -> Json:
    found: Json = {"name": query.name, "in": "query", "description": query.description, "schema": {"type": "string"}}
    return {**found, "required": True} if query.required else found


def answer_name(kind: Any) -> str:
    """A type in a few words, for tables."""
    inner = get_args(kind)
    return f"list of {answer_name(inner[0])}" if inner else "text" if kind is str else str(kind.__name__)
