"""Who asks: credentials become a `Caller` here and go no further. Pages of other sites are turned away here, too."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

from hilbert.api.problems import Refusal
from hilbert.core.identity import ADMINISTRATOR, NOBODY, Caller
from hilbert.iam.basic import Credentials

_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_MOST: Final = 8192
_HOST: Final = re.compile(r"([-A-Za-z0-9._~]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


class Door:
    """Tells callers by their credentials. Without a password to ask for, everybody is the administrator."""

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials

    def admit(self, method: str, headers: Mapping[str, str], *, public: bool) -> Caller:
        """The caller; `NOBODY` where a public path is asked for without valid credentials.

        Raises `Refusal`: 400 for a `Host` that is none, 401 without valid credentials where they are needed, and 403 for a write that a page of another
        site makes. A browser adds saved credentials to such requests, too, but it also says where they come from
        (`Sec-Fetch-Site`, which pages cannot forge).
        """
        if (host := headers.get("host", "")) and not _HOST.fullmatch(host):
            raise Refusal(400, "bad-request", "Invalid host header")
        caller = self._identify(headers)
        if caller is NOBODY and not public:
            raise Refusal(
                401,
                "unauthenticated",
                "invalid credentials",
                text="invalid credentials",
                headers={"WWW-Authenticate": 'Basic realm="Restricted"'},
            )
        if method not in _SAFE_METHODS and headers.get("sec-fetch-site", "") in ("cross-site", "same-site"):
            raise Refusal(403, "forbidden", "a page of another site may not change anything here")
        return caller

    def _identify(self, headers: Mapping[str, str]) -> Caller:
        if self._credentials is None:
            return ADMINISTRATOR
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or len(encoded) > _MOST:
            return NOBODY
        try:
            user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return NOBODY
        return ADMINISTRATOR if colon and self._credentials.match(user, password) else NOBODY
