"""`/system/secrets`: values come in and never go out."""

from __future__ import annotations

from typing import Final

from hilbert.api import targets
from hilbert.api.asgi import Answer, json
from hilbert.api.endpoint import NAMESPACE, Body, Call, Endpoint, nothing
from hilbert.api.problems import RESERVED_WRITE
from hilbert.core import errors
from hilbert.core.identity import Action
from hilbert.wire.secret import SecretInfo, SecretRequest, secret_name, to_secret

GROUP: Final = "Secrets"
PATH: Final = "/system/secrets"

SECRET: Final = Body(SecretRequest, "expected a body", "failed to unmarshal request: {}")

_WRITE: Final = (errors.BackendUnavailable, errors.StorageFull, errors.Unsupported)
_TARGET: Final = targets.namespace(lambda call: call.given(SECRET).namespace)


async def list_secrets(call: Call) -> Answer:
    names = await call.services.secrets.list_secrets(call.namespace.name)
    return json([SecretInfo(name=name, namespace=call.namespace.name) for name in names])


async def create_secret(call: Call) -> Answer:
    await call.services.secrets.create_secret(to_secret(call.given(SECRET), call.namespace.name))
    return nothing(202)


async def update_secret(call: Call) -> Answer:
    await call.services.secrets.update_secret(to_secret(call.given(SECRET), call.namespace.name))
    return nothing(202)


async def delete_secret(call: Call) -> Answer:
    await call.services.secrets.delete_secret(call.namespace.name, secret_name(call.given(SECRET)))
    return nothing(202)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path=PATH,
        handler=list_secrets,
        access=Action.SECRET_LIST,
        target=targets.namespace(),
        group=GROUP,
        summary="List the names of a namespace's secrets",
        query=(NAMESPACE,),
        answer=list[SecretInfo],
        errors=(errors.BackendUnavailable, errors.Unsupported),
        retold=RESERVED_WRITE,
    ),
    Endpoint(
        method="POST",
        path=PATH,
        handler=create_secret,
        access=Action.SECRET_CREATE,
        target=_TARGET,
        group=GROUP,
        summary="Create a secret",
        query=(NAMESPACE,),
        body=SECRET,
        named=lambda call: call.given(SECRET).name,
        success=202,
        errors=(*_WRITE, errors.AlreadyExists, errors.QuotaExceeded),
        retold=RESERVED_WRITE,
    ),
    Endpoint(
        method="PUT",
        path=PATH,
        handler=update_secret,
        access=Action.SECRET_UPDATE,
        target=_TARGET,
        group=GROUP,
        summary="Replace a secret",
        query=(NAMESPACE,),
        body=SECRET,
        named=lambda call: call.given(SECRET).name,
        success=202,
        errors=(*_WRITE, errors.SecretNotFound),
        retold=RESERVED_WRITE,
    ),
    Endpoint(
        method="DELETE",
        path=PATH,
        handler=delete_secret,
        access=Action.SECRET_DELETE,
        target=_TARGET,
        group=GROUP,
        summary="Delete a secret",
        query=(NAMESPACE,),
        body=SECRET,
        named=lambda call: call.given(SECRET).name,
        success=202,
        errors=(*_WRITE, errors.SecretNotFound),
        retold=RESERVED_WRITE,
    ),
)
