"""`/system/secrets`: values come in and never go out."""

from __future__ import annotations

from litestar import Response, delete, get, post, put
from litestar.handlers import HTTPRouteHandler

from hilbert.api.problems import RESERVED_WRITE, telling
from hilbert.api.request import AnyRequest, json, nothing, query, read
from hilbert.api.services import Services
from hilbert.wire.secret import ListedSecret, WireSecret, secret_name, to_secret

PATH = "/system/secrets"

_TOLD = telling(RESERVED_WRITE)


def routes(services: Services) -> list[HTTPRouteHandler]:
    """The handlers of this resource."""
    tenancy = services.tenancy

    async def body(request: AnyRequest) -> WireSecret:
        return await read(request, WireSecret, empty="expected a body", broken="failed to unmarshal request: {}")

    @get(PATH, exception_handlers=_TOLD)
    async def list_secrets(request: AnyRequest) -> Response[bytes]:
        namespace = await tenancy.resolve(query(request, "namespace"))
        names = await services.secrets.list_secrets(namespace.name)
        return json([ListedSecret(name=name, namespace=namespace.name) for name in names])

    @post(PATH, status_code=202, exception_handlers=_TOLD)
    async def create_secret(request: AnyRequest) -> Response[bytes]:
        given = await body(request)
        namespace = await tenancy.resolve(given.namespace, query(request, "namespace"))
        await services.secrets.create_secret(to_secret(given, namespace.name))
        return nothing(202)

    @put(PATH, status_code=202, exception_handlers=_TOLD)
    async def update_secret(request: AnyRequest) -> Response[bytes]:
        given = await body(request)
        namespace = await tenancy.resolve(given.namespace, query(request, "namespace"))
        await services.secrets.update_secret(to_secret(given, namespace.name))
        return nothing(202)

    @delete(PATH, status_code=202, exception_handlers=_TOLD)
    async def delete_secret(request: AnyRequest) -> Response[bytes]:
        given = await body(request)
        namespace = await tenancy.resolve(given.namespace, query(request, "namespace"))
        await services.secrets.delete_secret(namespace.name, secret_name(given))
        return nothing(202)

    return [list_secrets, create_secret, update_secret, delete_secret]
