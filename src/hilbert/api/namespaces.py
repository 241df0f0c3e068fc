"""`/system/namespaces` and `/system/namespace/NAME`.

Clients create with `POST /system/namespace/`, the name in the body alone. The plural path, which OpenFaaS's
documentation shows for updates and deletes, works too.
"""

from __future__ import annotations

from litestar import Response, delete, get, post, put
from litestar.handlers import HTTPRouteHandler

from hilbert.api.problems import Told, telling
from hilbert.api.request import AnyRequest, json, nothing, parse_bool, path_name, query, read, read_body
from hilbert.api.services import Services
from hilbert.control.call_policy import check_namespace_policy
from hilbert.core import errors
from hilbert.core.errors import Invalid, NamespaceNotFound, ReservedNamespace
from hilbert.core.values import NamespaceName
from hilbert.wire.namespace import WireNamespace, check_same_name, from_namespace, is_marked, to_namespace
from hilbert.wire.reading import decode

LIST_PATH = "/system/namespaces"
NO_NAME = "/system/namespace"
PATHS = ["/system/namespace/{name:str}", "/system/namespaces/{name:str}"]

_TOLD = telling({errors.NamespaceNotFound: Told(404)})


def routes(services: Services) -> list[HTTPRouteHandler]:
    """The handlers of this resource."""
    tenancy = services.tenancy

    def known(name: str) -> NamespaceName:
        try:
            return tenancy.check_name(name)
        except NamespaceNotFound:
            raise NamespaceNotFound(f"namespace {name} not found") from None

    @get(LIST_PATH)
    async def list_namespaces() -> Response[bytes]:
        return json([namespace.name for namespace in await tenancy.list_all()])

    @get(PATHS, exception_handlers=_TOLD)
    async def get_namespace(request: AnyRequest) -> Response[bytes]:
        name = path_name(request)
        try:
            namespace = await tenancy.resolve(known(name))
        except (NamespaceNotFound, ReservedNamespace):
            raise NamespaceNotFound(f"namespace {name} not found") from None
        return json(from_namespace(namespace))

    @post([NO_NAME, *PATHS], status_code=201, exception_handlers=_TOLD)
    async def create_namespace(request: AnyRequest) -> Response[bytes]:
        name = path_name(request)
        given = await read(
            request,
            WireNamespace,
            empty="namespace not specified in request body",
            broken="error parsing request body: {}",
        )
        if not given.name:
            raise Invalid("namespace not specified in request body")
        if name:
            check_same_name(given, name)
        if not is_marked(given):
            raise Invalid(
                "request does not have openfaas=1 label", hint='send "labels": {"openfaas": "1"}, or the annotation'
            )
        namespace = to_namespace(given, tenancy.check_new(given.name))
        check_namespace_policy(namespace.annotations)
        await services.namespaces.create_namespace(namespace)
        return nothing(201)

    @put(PATHS, status_code=202, exception_handlers=_TOLD)
    async def update_namespace(request: AnyRequest) -> Response[bytes]:
        name = path_name(request)
        found = known(name)
        given = await read(
            request, WireNamespace, empty="error parsing request body: no body", broken="error parsing request body: {}"
        )
        check_same_name(given, name)
        namespace = to_namespace(given, found)
        check_namespace_policy(namespace.annotations)
        await services.namespaces.update_namespace(namespace)
        return nothing(202)

    @delete(PATHS, status_code=202, exception_handlers=_TOLD)
    async def delete_namespace(request: AnyRequest) -> Response[bytes]:
        name = path_name(request)
        found = known(name)
        if body := await read_body(request):
            check_same_name(decode(body, WireNamespace), name)
        await services.namespaces.delete_namespace(found, force=parse_bool(query(request, "force")))
        return nothing(202)

    @get(NO_NAME)
    async def get_nothing() -> Response[bytes]:
        raise Invalid("namespace not specified in URL")

    @put(NO_NAME)
    async def update_nothing() -> Response[bytes]:
        raise Invalid("namespace not specified in URL")

    @delete(NO_NAME, status_code=202)
    async def delete_nothing() -> Response[bytes]:
        raise Invalid("namespace not specified in URL")

    return [
        list_namespaces,
        get_namespace,
        create_namespace,
        update_namespace,
        delete_namespace,
        get_nothing,
        update_nothing,
        delete_nothing,
    ]
