"""What the audit log is told of a request: gathered on its way, written before its answer goes out."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from hilbert.api.asgi import Answer, Request
from hilbert.api.endpoint import Access, Call
from hilbert.api.problems import Refusal, call_id
from hilbert.api.router import Match
from hilbert.audit.auditor import Auditor
from hilbert.audit.record import Actor, Decision, Record, Stage, clean, moment, names, new_id
from hilbert.core.addresses import parse_address
from hilbert.core.errors import Denied, HilbertError
from hilbert.core.identity import NOBODY, Action, Caller, Resource
from hilbert.iam.rights import granted_by

_NAME: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.@]{0,127}")
_KEYS_OF: Final = ("labels", "annotations", "envVars")
"""Fields whose own keys are names, and no secrets."""


class Trail:
    """One request's. Without an auditor it does nothing."""

    def __init__(self, auditor: Auditor | None, request: Request, match: Match | None) -> None:
        self._auditor = auditor
        self._request = request
        self._match = match
        self._id = ""
        """Made for the first record: most requests have none."""
        self._began = time.time()
        self._started = time.monotonic()
        self._begun: Record | None = None
        """What was written before the change."""
        self._failure: Exception | None = None
        self.caller: Caller = NOBODY
        self.admitted = False
        """The caller has shown who it is, or need not."""
        self.call: Call | None = None
        self.allowed = False
        """The caller may do it."""

    async def may_begin(self) -> None:
        """Before a change is made. Raises `HilbertError` if it cannot be written down, and must not be made."""
        self.allowed = True
        if self._auditor is None or self.call is None or not self.call.endpoint.is_change:
            return
        if self.call.endpoint.access is Access.PUBLIC:
            return  # A token is given out: nothing is changed but by whoever uses it.
        begun = self._record(Stage.BEGUN, 0)
        await self._auditor.begin(begun)
        self._begun = begun

    def failed(self, failure: Exception) -> None:
        self._failure = failure

    async def end(self, answer: Answer) -> None:
        """Write down what has come of it, if it was a change, an attempt at one, or a refusal."""
        if self._auditor is None or not self._is_told(answer):
            return
        await self._auditor.end(
            self._ended(answer.status) if self._begun is not None else self._record(Stage.DONE, answer.status)
        )

    def _is_told(self, answer: Answer) -> bool:
        if self._begun is not None or self._decision(answer.status) in (Decision.REFUSED, Decision.UNAUTHENTICATED):
            return True
        return self.call is not None and (self.call.endpoint.is_change or bool(self.call.acts_for))

    def _decision(self, status: int) -> Decision:
        if not self.admitted:
            return Decision.UNAUTHENTICATED if isinstance(self._failure, Refusal) else Decision.NONE
        if self.call is None:
            return Decision.NONE
        if not self.allowed:
            # Before the right is asked for, a request can be wrong, or about something that does not exist.
            asked = self.call.refused or isinstance(self._failure, Denied)
            return Decision.REFUSED if asked else Decision.NONE
        if isinstance(self._failure, Denied):
            return Decision.REFUSED
        if self.call.endpoint.access is Access.PUBLIC:
            if self.call.refused:
                return Decision.REFUSED if status == 403 else Decision.UNAUTHENTICATED
            return Decision.UNAUTHENTICATED if self.call.endpoint.is_change and status >= 400 else Decision.NONE
        return Decision.ALLOWED

    def _ended(self, status: int) -> Record:
        """The end of a change that was begun: who asks for what has been said, and stays so."""
        call, begun, failure = self.call, self._begun, self._failure
        if call is None or begun is None or call.asked or call.acts_for:
            return self._record(Stage.DONE, status)
        return msgspec.structs.replace(
            begun,
            stage=Stage.DONE,
            name=_about(call),
            decision=self._decision(status),
            response_code=status,
            error=_code(failure),
            custom_message=clean(_message(failure) or call.remark, 512),
            duration_ms=self._taken(),
        )

    def _taken(self) -> float:
        return round((time.monotonic() - self._started) * 1000, 3)

    def _record(self, stage: Stage, status: int) -> Record:
        request, call, caller = self._request, self.call, self.caller
        self._id = self._id or new_id(self._began)
        endpoint = call.endpoint if call is not None else None
        if endpoint is None and self._match is not None:
            endpoint = self._match.methods.get(request.method)
        resources = [one for one, _ in call.target.each()] if call is not None else []
        first = next((one for one in resources if one is not None and one.namespace is not None), None)
        access = (call and call.asked) or (endpoint.access if endpoint is not None else None)
        address = parse_address(request.headers.get("x-forwarded-for", ""))
        failure = self._failure
        return Record(
            id=self._id,
            time=moment(self._began),
            stage=stage,
            actor=_actor(caller, call),
            token_id=_token_id(caller),
            source_ip=str(address) if address is not None else "",
            user_agent=clean(request.headers.get("user-agent", "")),
            request_id=call_id(request.headers),
            method=clean(request.method, 16),
            path=clean(request.path) if self._match is not None else "",
            actions=(access.value,) if isinstance(access, Action) else (),
            namespace=str(first.namespace) if first is not None else "",
            resource=" ".join(names([_name(one) for one in resources if one is not None])),
            name=_about(call) if call is not None else "",
            decision=Decision.ALLOWED if stage is Stage.BEGUN else self._decision(status),
            policy=_given_by(caller, access, resources) if self.allowed and isinstance(access, Action) else (),
            change=_fields(call) if call is not None and call.endpoint.is_change else (),
            response_code=status,
            error=_code(failure),
            custom_message=clean(_message(failure) or (call.remark if call is not None else ""), 512),
            duration_ms=self._taken() if stage is Stage.DONE else 0.0,
        )


def _actor(caller: Caller, call: Call | None) -> Actor:
    identity = caller.identity or (call.acts_for if call is not None else "")
    name, issuer = (_text(caller.claims, claim) for claim in ("name", "iss"))
    return Actor(
        sub=clean(identity, 1300),
        name=clean(name),
        issuer=clean(issuer),
        fed_issuer=clean(_text(caller.claims, "fed:iss")),
    )


def _token_id(caller: Caller) -> str:
    if caller.identity.startswith("token:"):
        return clean(caller.identity.removeprefix("token:"), 64)
    return clean(_text(caller.claims, "jti"), 64)


def _text(claims: Mapping[str, str | Sequence[str]], name: str) -> str:
    found = claims.get(name, "")
    return found if isinstance(found, str) else ""


def _given_by(caller: Caller, action: Action, resources: Sequence[Resource | None]) -> tuple[str, ...]:
    """What gave the right, for each resource."""
    found: dict[str, None] = {}
    for one in resources:
        if one is not None and (grant := granted_by(caller, action, one)) is not None and grant.by:
            found[grant.by] = None
    return names(list(found))


def _name(resource: Resource) -> str:
    if resource.ref is not None:
        return f"{resource.ref.namespace}:{resource.ref.name}"
    return f"{resource.namespace}:*" if resource.namespace is not None else "*"


def _about(call: Call) -> str:
    """Only what can be a name: anything else may have come there by mistake."""
    target = call.target.resource
    try:
        text = call.endpoint.named(call) if call.endpoint.named is not None else ""
    except HilbertError:
        text = ""
    text = text or call.name or (target.ref.name if target is not None and target.ref is not None else "")
    return clean(text) if _NAME.fullmatch(text) else ""


def _code(failure: Exception | None) -> str:
    if failure is None:
        return ""
    return failure.code if isinstance(failure, (Refusal, HilbertError)) else "internal"


def _message(failure: Exception | None) -> str:
    """Only of refusals, whose words are the platform's own: others can quote what was sent."""
    return failure.message if isinstance(failure, (Refusal, Denied)) else ""


def _fields(call: Call) -> tuple[str, ...]:
    """Names of the fields that the body gave, as far as the endpoint knows them: an unknown name could be anything."""
    body = call.endpoint.body
    if body is None or not call.data:
        return ()
    try:
        given = msgspec.json.decode(call.data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ()
    known = getattr(body.kind, "__struct_encode_fields__", ())
    if not isinstance(given, dict):
        return ()
    found: list[str] = []
    for name in known:
        if name not in given:
            continue
        inner = given[name]
        if name in _KEYS_OF and isinstance(inner, dict):
            found += [f"{name}.{key}" for key in inner]
        else:
            found.append(name)
    return names(found)
