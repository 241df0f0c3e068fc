"""The OpenAPI description of the REST API: what each route takes and gives, with every status.

Kept by hand beside the routes, since bodies are read whatever their content type says; tests hold it to the real routes
and send requests made from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

import hilbert
from hilbert.wire.alert import AlertReport
from hilbert.wire.function import DeleteFunction, Deployment, ScaleFunction, WireStatus
from hilbert.wire.info import WireInfo
from hilbert.wire.log import WireLogLine
from hilbert.wire.namespace import WireNamespace
from hilbert.wire.problem import Problem
from hilbert.wire.secret import ListedSecret, WireSecret

Json = dict[str, Any]

_STRUCTS: Final = (
    Deployment,
    DeleteFunction,
    ScaleFunction,
    WireStatus,
    WireInfo,
    WireNamespace,
    WireSecret,
    ListedSecret,
    WireLogLine,
    Problem,
    AlertReport,
)
_ERRORS: Final = {
    400: "The request is wrong: its body, a name, or `namespace not valid`.",
    401: "No valid credentials, or a reserved namespace.",
    403: "Not allowed.",
    404: "It does not exist.",
    409: "It is there already.",
    413: "The body is too large.",
    422: "A parameter cannot be read.",
    501: "Not available in this installation.",
    503: "What runs the functions cannot be reached, or a limit is reached.",
    500: "What could not be done, line by line.",
    507: "The disk of the state directory is full; nothing was changed.",
}


def document() -> Json:
    """The whole description, as JSON types. OpenAPI 3.1."""
    _, schemas = msgspec.json.schema_components(_STRUCTS, ref_template="#/components/schemas/{name}")
    found = {
        "openapi": "3.1.0",
        "info": {
            "title": "Hilbert",
            "version": hilbert.__version__,
            "description": "The REST API of the gateway, compatible with OpenFaaS.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"basic": []}],
        "paths": {path: dict(operations) for path, operations in _paths().items()},
        "components": {
            "schemas": schemas,
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
    }
    plain: Json = msgspec.json.decode(msgspec.json.encode(found))
    return plain


def _paths() -> dict[str, Json]:
    functions = "Functions"
    namespaces = "Namespaces"
    namespace = _query("namespace", "The namespace; the default one if absent.")
    usage = _query("usage", "`1` adds what the replicas use.")
    name = _path("name", "`NAME` or `NAME.NAMESPACE`.")
    force = _query("force", "`true` deletes it also when it holds things that the platform did not make.")
    one_namespace = {
        "get": _operation(
            namespaces, "Read a namespace", 200, WireNamespace, (404,), parameters=(_path("name", "Its name."),)
        ),
        "put": _operation(
            namespaces,
            "Replace a namespace's labels and annotations",
            202,
            None,
            (400, 403, 404, 413, 501, 503, 507),
            parameters=(_path("name", "Its name."),),
            body=WireNamespace,
        ),
        "delete": _operation(
            namespaces,
            "Delete a namespace with all that is in it",
            202,
            None,
            (400, 403, 404, 409, 413, 501, 503, 507),
            parameters=(_path("name", "Its name."), force),
            body=WireNamespace,
            body_required=False,
        ),
    }
    return {
        "/system/functions": {
            "get": _operation(
                functions, "List functions", 200, [WireStatus], (400, 401, 503), parameters=(namespace, usage)
            ),
            "post": _operation(
                functions,
                "Create a function",
                202,
                None,
                (400, 403, 409, 413, 503, 507),
                parameters=(namespace,),
                body=Deployment,
            ),
            "put": _operation(
                functions,
                "Replace a function",
                202,
                None,
                (400, 401, 403, 404, 413, 503, 507),
                parameters=(namespace,),
                body=Deployment,
            ),
            "delete": _operation(
                functions,
                "Delete a function",
                202,
                None,
                (400, 401, 404, 413, 503, 507),
                parameters=(namespace,),
                body=DeleteFunction,
            ),
        },
        "/system/function/{name}": {
            "get": _operation(
                functions, "Read a function", 200, WireStatus, (400, 401, 404, 503), parameters=(name, namespace, usage)
            )
        },
        "/system/scale-function/{name}": {
            "post": _operation(
                functions,
                "Set how many replicas a function has; 0 lets it sleep",
                202,
                None,
                (400, 401, 403, 404, 413, 503, 507),
                parameters=(name, namespace),
                body=ScaleFunction,
            )
        },
        "/system/namespaces": {
            "get": _operation(namespaces, "List namespaces", 200, [str], (503,)),
        },
        "/system/namespace/": {
            "post": _operation(
                namespaces,
                "Create a namespace; its body needs the mark `openfaas=1` as label or annotation",
                201,
                None,
                (400, 403, 409, 413, 501, 503, 507),
                body=WireNamespace,
            )
        },
        "/system/namespace/{name}": one_namespace,
        "/system/secrets": _secrets(namespace),
        "/system/logs": {"get": _logs(namespace)},
        "/system/alert": {
            "post": _operation(
                "Functions", "Scale functions by AlertManager's alerts", 200, None, (400, 413, 500), body=AlertReport
            )
        },
        "/system/info": {"get": _operation("Gateway", "Read versions and facts", 200, WireInfo, (503,))},
        "/healthz": {"get": _operation("Gateway", "Ask whether the gateway answers", 200, str, (), public=True)},
        "/readyz": {
            "get": _operation("Gateway", "Ask whether the gateway knows where calls go", 200, str, (503,), public=True)
        },
    }


def _secrets(namespace: Json) -> Json:
    tag = "Secrets"
    writes = (400, 404, 409, 413, 501, 503, 507)
    return {
        "get": _operation(
            tag, "List the names of secrets", 200, [ListedSecret], (400, 501, 503), parameters=(namespace,)
        ),
        "post": _operation(tag, "Create a secret", 202, None, writes, parameters=(namespace,), body=WireSecret),
        "put": _operation(tag, "Replace a secret", 202, None, writes, parameters=(namespace,), body=WireSecret),
        "delete": _operation(tag, "Delete a secret", 202, None, writes, parameters=(namespace,), body=WireSecret),
    }


def _logs(namespace: Json) -> Json:
    operation = _operation(
        "Functions",
        "Read log lines as NDJSON",
        200,
        WireLogLine,
        (400, 404, 422, 501, 503),
        parameters=(
            {**_query("name", "`NAME` or `NAME.NAMESPACE`."), "required": True},
            namespace,
            _query("instance", "One replica only."),
            _query("since", "RFC 3339; five minutes ago if absent, unless `tail` is positive."),
            _query("tail", "At most so many of the newest lines; 0 and less is no limit."),
            _query("follow", "`1` or `true` keeps the stream open for new lines."),
        ),
    )
    content = operation["responses"]["200"]["content"]
    operation["responses"]["200"]["content"] = {"application/x-ndjson": {"schema": {"type": "string"}}}
    operation["responses"]["200"]["description"] = f"One `{_name(content)}` a line."
    return operation


def _name(content: Json) -> str:
    return str(content["application/json"]["schema"]["$ref"]).rpartition("/")[2]


def _operation(
    tag: str,
    summary: str,
    success: int,
    answer: Any,
    refusals: Sequence[int],
    *,
    parameters: Sequence[Json] = (),
    body: type | None = None,
    body_required: bool = True,
    public: bool = False,
) -> Json:
    responses: Json = {str(success): _success(answer)}
    for status in sorted({*refusals} if public else {401, *refusals}):
        responses[str(status)] = {
            "description": _ERRORS[status],
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/json": {"schema": {"$ref": "#/components/schemas/Problem"}},
            },
        }
    operation: Json = {"tags": [tag], "summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = list(parameters)
    if body is not None:
        operation["requestBody"] = {
            "required": body_required,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}},
        }
    if public:
        operation["security"] = []
    return operation


def _success(answer: Any) -> Json:
    if answer is None:
        return {"description": "Done, or promised. No body."}
    if answer is str:
        return {"description": "It does.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    if isinstance(answer, list):
        (item,) = answer
        inner = {"type": "string"} if item is str else {"$ref": f"#/components/schemas/{item.__name__}"}
        schema: Json = {"type": "array", "items": inner}
    else:
        schema = {"$ref": f"#/components/schemas/{answer.__name__}"}
    return {"description": "Found.", "content": {"application/json": {"schema": schema}}}


def _query(name: str, description: str) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string"}}


def _path(name: str, description: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "pattern": "^[-a-zA-Z_0-9.]+$"},
    }
