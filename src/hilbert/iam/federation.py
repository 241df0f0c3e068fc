"""Tokens of identity providers become tokens of ours, and those become callers (OpenFaaS's IAM, RFC 8693).

A token of ours carries the claims of the one that it was made of, under a subject that begins with `fed:`. What it may do
is looked up when it is used, in the policies that its roles still give: what is taken from a role, a policy or an issuer
is gone at once, and not only when the token ends.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from hilbert.core.access import Issuer
from hilbert.core.errors import BackendUnavailable, HilbertError
from hilbert.core.identity import EVERYTHING, Action, Caller, Grant
from hilbert.core.values import FunctionRef
from hilbert.iam.access import Access
from hilbert.iam.issuer_keys import IssuerKeys
from hilbert.iam.jose import BadToken, audiences, check_signature, check_times, take_apart
from hilbert.iam.signing import KeyRing

_log = structlog.get_logger("hilbert.iam")

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a kind
TOKEN_TYPES: Final = frozenset(
    {ID_TOKEN, "urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:access_token"}
)
MAX_ISSUED: Final = 8000
"""Bytes of a token of ours: it must fit into a header."""
MAX_SUBJECT: Final = 1024
MOST_REMEMBERED: Final = 10_000
REMEMBERED: Final = 60.0
"""Seconds for which a token that was checked is not checked again."""
PASS_LIFE: Final = 900
"""Seconds for which the gateway's own token for a function lives."""
_OURS: Final = frozenset({"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "policy", "function"})
_FED: Final = "fed:"


class Refused(HilbertError):
    """An exchange that came to nothing, in OAuth's words (RFC 6749, 5.2)."""

    code = "invalid"

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """A token of ours."""

    access_token: str
    expires_in: int
    """Seconds."""
    subject: str
    scope: str = ""

    def __repr__(self) -> str:
        return f"Granted({self.subject!r})"


class _Checked:
    """A token of ours whose signature and times are right, and what it was worth when it was looked up last."""

    def __init__(self, until: float, claims: Mapping[str, Any]) -> None:
        self.until = until
        self.claims = claims
        self.version = -1
        """Of the issuers, policies and roles that `caller` stands on."""
        self.caller: Caller | None = None


class Federation:
    """One gateway's door for other people's tokens. `url` is what clients know it by, and the issuer of its tokens."""

    def __init__(
        self,
        access: Access,
        ring: KeyRing,
        keys: IssuerKeys,
        *,
        url: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.access = access
        self.ring = ring
        self.keys = keys
        self.url = url
        self._now = now
        self._checked: OrderedDict[bytes, _Checked] = OrderedDict()

    async def exchange(self, given: Mapping[str, Sequence[str]]) -> Granted:
        """Answer a request by its parameters. Raises `Refused`."""
        subject_token = _one(given, "subject_token")
        scope = check_request(given)
        if scope and self.is_ours(subject_token):
            return self._for_functions_of_ours(subject_token, given.get("audience", ()))
        try:
            issuer, claims = await self._believe(subject_token)
        except BadToken as exc:
            raise Refused("invalid_request", exc.message) from exc
        except BackendUnavailable as exc:
            raise Refused(
                "temporarily_unavailable", f"the token's issuer cannot be asked for its keys: {exc.message}"
            ) from exc
        subject = str(claims["sub"])
        policies = self.access.policies_of(claims)
        if not policies:
            _log.info("token exchange refused", issuer=issuer.iss, subject=subject, reason="no policies")
            raise Refused("invalid_request", f"No policies found for subject: {subject}")
        if scope:
            held = self.access.grants(policies, claims)
            life = int(issuer.expiry.seconds)
            return self.for_functions(
                f"{_FED}{subject}", held, given.get("audience", ()), life=life, vouched_by=issuer.iss
            )
        now = int(self._now())
        life = int(issuer.expiry.seconds)
        issued = {name: value for name, value in claims.items() if name not in _OURS and not name.startswith(_FED)}
        issued |= {
            "iss": self.url,
            "aud": self.url,
            "sub": f"{_FED}{subject}",
            "iat": now,
            "exp": now + life,
            "jti": secrets.token_urlsafe(16),
            "fed:iss": issuer.iss,
            "fed:aud": claims["aud"],
            "policy": policies,
        }
        text = self.ring.sign(issued)
        if len(text) > MAX_ISSUED:
            raise Refused(
                "invalid_request", f"the token has too many claims: ours would be longer than {MAX_ISSUED} bytes"
            )
        _log.info("token exchanged", issuer=issuer.iss, subject=subject, policies=policies, token=issued["jti"])
        return Granted(access_token=text, expires_in=life, subject=issued["sub"])

    def for_functions(
        self, subject: str, grants: Sequence[Grant], audience: Sequence[str], *, life: int, vouched_by: str
    ) -> Granted:
        """A token for calling functions, and for nothing else: what the grants allow, narrowed to `audience`. Raises `Refused`."""
        permissions = sorted({one for grant in grants if _may_call(grant) for one in grant.resources})
        if not permissions:
            raise Refused("invalid_scope", f"no policy of {subject} allows {Action.FUNCTION_INVOKE}")
        wanted = tuple(dict.fromkeys(audience))
        for one in wanted:
            namespace, colon, name = one.partition(":")
            if not colon or not name or not {"*", f"{namespace}:*", one} & set(permissions):
                raise Refused("invalid_target", "an audience must be NAMESPACE:FUNCTION, and one that you may call")
        now = int(self._now())
        function: dict[str, Any] = {"permissions": permissions}
        if wanted:
            function["audience"] = list(wanted)
        issued = {
            "iss": self.url,
            "aud": self.url,
            "sub": subject,
            "iat": now,
            "exp": now + life,
            "jti": secrets.token_urlsafe(16),
            "fed:iss": vouched_by,
            "function": function,
        }
        text = self.ring.sign(issued)
        if len(text) > MAX_ISSUED:
            raise Refused("invalid_request", f"the token would be longer than {MAX_ISSUED} bytes; name an audience")
        return Granted(access_token=text, expires_in=life, subject=subject, scope="function")

    def pass_for(self, ref: FunctionRef) -> Granted:
        """A token of the gateway's own for its calls of one function, `PASS_LIFE` seconds long. Raises `Refused`."""
        about = f"{ref.namespace}:{ref.name}"
        grant = Grant((Action.FUNCTION_INVOKE.value,), (about,))
        return self.for_functions("gateway", (grant,), (about,), life=PASS_LIFE, vouched_by=self.url)

    def is_ours(self, text: str) -> bool:
        """Whether a token says that it is this gateway's own. It is not checked."""
        try:
            return take_apart(text).claims.get("iss") == self.url
        except BadToken:
            return False

    def _for_functions_of_ours(self, text: str, audience: Sequence[str]) -> Granted:
        """As the SDKs ask for them: with the token of the API. It lives no longer than that one. Raises `Refused`."""
        try:
            caller = self.identify(text)
            end = int(self._check_ours(text).claims["exp"])
        except BadToken as exc:
            raise Refused("invalid_request", exc.message) from exc
        issuer, _, subject = caller.identity.partition("|")
        found = self.access.issuer(issuer)
        longest = int(found.expiry.seconds) if found is not None else 0
        life = min(longest, end - int(self._now()))
        if life <= 0:
            raise Refused("invalid_request", "the token has expired")
        return self.for_functions(f"{_FED}{subject}", caller.grants, audience, life=life, vouched_by=issuer)

    def identify(self, text: str) -> Caller:
        """Who has this token of ours. Raises `BadToken`, and `Expired` for one that was good once."""
        checked = self._check_ours(text)
        if checked.caller is None or checked.version != self.access.version:
            checked.caller, checked.version = self._caller(checked.claims), self.access.version
        return checked.caller

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        """With the rights that these claims give as things are now. Raises `BadToken`."""
        issuer = self.access.issuer(str(claims["fed:iss"]))
        if issuer is None:
            raise BadToken("the token's issuer is not trusted any more")
        original = {name: value for name, value in claims.items() if not name.startswith(_FED)}
        subject = claims["sub"].removeprefix(_FED)
        original |= {"iss": issuer.iss, "sub": subject, "aud": claims.get("fed:aud", "")}
        held = set(self.access.policies_of(original))
        names = [name for name in claims["policy"] if name in held]
        shown = {name: value for name, value in claims.items() if _is_plain(value)}
        return Caller(identity=f"{issuer.iss}|{subject}", claims=shown, grants=self.access.grants(names, original))

    async def _believe(self, text: str) -> tuple[Issuer, Mapping[str, Any]]:
        """The claims of somebody else's token, once all is checked. Raises `BadToken` and `BackendUnavailable`."""
        token = take_apart(text)
        iss = token.claims.get("iss")
        if not isinstance(iss, str):
            raise BadToken("the token names no issuer (iss)")
        if iss == self.url:
            raise BadToken("that is a token of this gateway already")
        issuer = self.access.issuer(iss)
        if issuer is None:
            raise BadToken("the token's issuer is not trusted here")
        check_signature(token, await self.keys.find(issuer, token.kid))
        check_times(token.claims, self._now())
        if audiences(token.claims).isdisjoint(issuer.aud):
            raise BadToken("the token is not meant for this gateway (aud)")
        subject = token.claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
            raise BadToken("the token names no subject (sub)")
        return issuer, token.claims

    def _check_ours(self, text: str) -> _Checked:
        """Raises `BadToken`. A token is checked once in `REMEMBERED` seconds."""
        digest, now = hashlib.sha256(text.encode()).digest(), self._now()
        found = self._checked.get(digest)
        if found is not None and now < found.until:
            return found
        token = take_apart(text)
        if token.claims.get("iss") != self.url:
            raise BadToken("this is not a token of this gateway")
        key = self.ring.find(token.kid)
        if key is None:
            raise BadToken("the token is signed with a key that is not in use")
        check_signature(token, key)
        end = check_times(token.claims, now)
        claims = token.claims
        policies, subject = claims.get("policy"), claims.get("sub")
        if (
            self.url not in audiences(claims)
            or "function" in claims
            or not isinstance(policies, list)
            or not isinstance(subject, str)
            or not subject.startswith(_FED)
            or not isinstance(claims.get("fed:iss"), str)
        ):
            raise BadToken("that token is not for this API")
        found = self._checked[digest] = _Checked(min(end, now + REMEMBERED), claims)
        self._checked.move_to_end(digest)
        while len(self._checked) > MOST_REMEMBERED:
            self._checked.popitem(last=False)
        return found

    def objects_changed(self) -> None:
        """Look for the keys of new issuers, and forget those of old ones."""
        self.keys.prepare(self.access.issuers())

    def forget_checked(self) -> None:
        """Check every token anew: keys have changed."""
        self._checked.clear()


def _may_call(grant: Grant) -> bool:
    return not {EVERYTHING, "Function:*", Action.FUNCTION_INVOKE.value}.isdisjoint(grant.actions)


def is_jwt(text: str) -> bool:
    """Whether it is written like one."""
    return text.count(".") == 2 and text.startswith("ey")


def check_request(given: Mapping[str, Sequence[str]]) -> str:
    """The scope that is asked for. Raises `Refused`."""
    if _one(given, "grant_type") != EXCHANGE:
        raise Refused("unsupported_grant_type", f"grant_type must be {EXCHANGE}")
    if not _one(given, "subject_token"):
        raise Refused("invalid_request", "subject_token is missing")
    if _one(given, "subject_token_type") not in TOKEN_TYPES:
        raise Refused("invalid_request", f"subject_token_type must be {ID_TOKEN}")
    if _one(given, "requested_token_type") not in {"", *TOKEN_TYPES}:
        raise Refused("invalid_request", f"requested_token_type must be {ID_TOKEN}")
    if _one(given, "actor_token"):
        raise Refused("invalid_request", "acting for somebody else is not supported (actor_token)")
    scope = _one(given, "scope")
    if scope not in ("", "function"):
        raise Refused("invalid_scope", "scope must be absent, or function")
    return scope


def _one(given: Mapping[str, Sequence[str]], name: str) -> str:
    """A parameter; empty if it is absent. Raises `Refused` for one that comes twice."""
    several = given.get(name, ())
    if len(several) > 1:
        raise Refused("invalid_request", f"{name} comes more than once")
    return several[0] if several else ""


def _is_plain(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))
