"""Failures that only the command line knows."""

from __future__ import annotations

import re
from typing import Final

from hilbert.core.errors import FunctionNotFound, HilbertError, NotFound

_HINTS: Final = {
    "gateway-unreachable": "is it running? start one here with 'hilbert up --detach', or name another with --gateway or OPENFAAS_URL",
    "gateway-timeout": "run 'hilbert doctor' to find out why; some commands wait longer with --timeout",
}
"""What to do about failures of the way to the gateway, by error code."""

_NO_NAMESPACE: Final = re.compile(r"namespace ([a-z0-9-]{1,63}) not found")
_NO_SECRET: Final = re.compile(r"unable to find secret|secret \S+ not found")


def hint_of(error: HilbertError) -> str:
    """What to do next: the gateway's own hint, or else what is known here about errors of this kind."""
    if error.hint or error.code in _HINTS:
        return error.hint or _HINTS[error.code]
    if not isinstance(error, NotFound):
        return ""
    if found := _NO_NAMESPACE.match(error.message):
        return f"list the namespaces with 'hilbert namespaces', or create it: hilbert namespace create {found[1]}"
    if _NO_SECRET.match(error.message):
        return "list the secrets with 'hilbert secret list', in another namespace with -n"
    if isinstance(error, FunctionNotFound):
        return "list the functions of all namespaces with 'hilbert list -A'"
    return ""


class UsageError(HilbertError):
    """The command was written wrongly. Exit status 2."""

    code = "usage"


class Failed(HilbertError):
    """The command could not do what was asked. Exit status 1."""

    code = "failed"


class StartFailed(Failed):
    """The platform did not come up. Exit status 3."""

    code = "start-failed"
