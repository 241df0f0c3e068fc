"""Issuers, policies and roles: OpenFaaS's objects of `iam.openfaas.com/v1`, read once into types.

What cannot be meant is refused when it is read, since a condition that is not understood must never become one that
always holds. Written otherwise than the schema, and read all the same, as OpenFaaS's own pages have it: one text where a
list belongs, numbers among texts, and `tokenExpiry` beside `spec`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from hilbert.core.errors import Invalid
from hilbert.core.identity import EVERYTHING
from hilbert.core.values import Duration, parse_function_name, parse_namespace_name

API_VERSION: Final = "iam.openfaas.com/v1"
KINDS: Final = ("JwtIssuer", "Policy", "Role")

MAX_NAME: Final = 253
MAX_TEXT: Final = 1024
"""Characters of one value."""
MAX_VALUES: Final = 256
"""Entries of one list or map."""
LONGEST_LIFE: Final = Duration.of(24 * 3600)
"""Of a token of ours."""
USUAL_LIFE: Final = Duration.of(30 * 60)

SUBJECT: Final = "jwt:sub"
ANY_VALUE: Final = "ForAnyValue:"
OPERATORS: Final = frozenset({"StringEqual", "StringEquals", "StringEqualIgnoreCase", "StringLike"})

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_ACTION: Final = re.compile(r"\*|[A-Za-z]{1,40}:(\*|[A-Za-z]{1,40})")
_LOOPBACK: Final = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?(/|$)")
_URL: Final = re.compile(r"https?://[^\s/@\\?#]+(/[^\s@\\?#]*)?")

Values = tuple[str, ...]
Condition = Mapping[str, Mapping[str, Values]]
"""Operator to claim (`jwt:NAME`) to values. Operators and claims must all match, of the values any."""


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """Whose tokens are believed (`JwtIssuer`)."""

    name: str
    iss: str
    """Compared byte for byte with the claim."""
    aud: Values
    """A token must be for one of these."""
    internal: str = ""
    """URL to fetch keys from instead (`issInternal`)."""
    expiry: Duration = USUAL_LIFE
    """How long a token lives that is made of one of its."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """Some actions on some resources, for whoever the condition matches."""

    sid: str
    actions: Values
    resources: Values
    condition: Condition = {}


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Rights under a name. They only add up: OpenFaaS has no effect but `Allow`."""

    name: str
    statements: tuple[Statement, ...]


class RoleBinding(msgspec.Struct, frozen=True, kw_only=True):
    """Who has which policies (`Role`). Principal and condition must both match; with neither, it is nobody's."""

    name: str
    policies: Values = ()
    principal: Values = ()
    """Values of `jwt:sub`, each whole."""
    condition: Condition = {}


Document = Issuer | Policy | RoleBinding

_KIND_OF: Final = {Issuer: "JwtIssuer", Policy: "Policy", RoleBinding: "Role"}


def kind_of(document: Document) -> str:
    return _KIND_OF[type(document)]


def parse_name(text: object) -> str:
    """A name in Kubernetes' syntax. Raises `Invalid`."""
    if not isinstance(text, str) or len(text) > MAX_NAME or not _NAME.fullmatch(text):
        raise Invalid("metadata.name: must be a DNS subdomain: a-z, 0-9, dashes and dots")
    return text


def parse_document(given: object, *, namespace: str = "openfaas") -> Document:
    """An object as YAML or JSON has it. Raises `Invalid`, which names the place that is wrong.

    `namespace` is the platform's: an object that names another one does not count there.
    """
    if not isinstance(given, dict):
        raise Invalid("expected an object with apiVersion, kind, metadata and spec")
    if given.get("apiVersion") != API_VERSION:
        raise Invalid(f"apiVersion: must be {API_VERSION}")
    kind = given.get("kind")
    if kind not in KINDS:
        raise Invalid(f"kind: must be one of {', '.join(KINDS)}")
    metadata = _map(given.get("metadata"), "metadata")
    name = parse_name(metadata.get("name"))
    if metadata.get("namespace", namespace) != namespace:
        raise Invalid(f"{kind} {name}: metadata.namespace: must be {namespace}, the platform's own")
    try:
        spec = _map(given.get("spec"), "spec")
        if kind == "JwtIssuer":
            return _issuer(name, spec, given.get("tokenExpiry"))
        return _policy(name, spec) if kind == "Policy" else _role(name, spec)
    except Invalid as exc:
        raise Invalid(f"{kind} {name}: {exc.message}") from exc


def to_manifest(document: Document) -> dict[str, Any]:
    """The object as it is written."""
    spec: dict[str, Any]
    match document:
        case Issuer():
            spec = {"iss": document.iss, "aud": list(document.aud), "tokenExpiry": str(document.expiry)}
            if document.internal:
                spec["issInternal"] = document.internal
        case Policy():
            spec = {"statement": [_statement_spec(one) for one in document.statements]}
        case RoleBinding():
            spec = {"policy": list(document.policies)}
            if document.principal:
                spec["principal"] = {SUBJECT: list(document.principal)}
            if document.condition:
                spec["condition"] = _plain(document.condition)
    return {
        "apiVersion": API_VERSION,
        "kind": kind_of(document),
        "metadata": {"name": document.name},
        "spec": spec,
    }


def _issuer(name: str, spec: Mapping[str, Any], beside: object) -> Issuer:
    _only(spec, {"iss", "aud", "issInternal", "tokenExpiry"})
    expiry = spec.get("tokenExpiry", beside)
    try:
        life = USUAL_LIFE if expiry in (None, "") else Duration.parse(str(expiry))
    except Invalid as exc:
        raise Invalid(f"spec.tokenExpiry: {exc.message}") from exc
    if not 0 < life.seconds <= LONGEST_LIFE.seconds:
        raise Invalid(f"spec.tokenExpiry: must be more than 0 and at most {LONGEST_LIFE}")
    audiences = _texts(spec.get("aud"), "spec.aud")
    if not audiences:
        raise Invalid("spec.aud: is required; a token must be meant for this gateway")
    internal = spec.get("issInternal") or ""
    iss = _url(spec.get("iss"), "spec.iss")
    if not internal and not iss.startswith("https://") and not _LOOPBACK.match(iss):
        raise Invalid("spec.iss: must begin with https://, so that its keys cannot be forged on the way")
    return Issuer(
        name=name,
        iss=iss,
        aud=audiences,
        internal=_url(internal, "spec.issInternal") if internal else "",
        expiry=life,
    )


def _policy(name: str, spec: Mapping[str, Any]) -> Policy:
    _only(spec, {"statement"})
    given = spec.get("statement")
    if not isinstance(given, list) or not 0 < len(given) <= MAX_VALUES:
        raise Invalid(f"spec.statement: must be a list of 1 to {MAX_VALUES} statements")
    return Policy(name=name, statements=tuple(_statement(one, f"spec.statement[{n}]") for n, one in enumerate(given)))


def _statement(given: object, where: str) -> Statement:
    found = _map(given, where)
    _only(found, {"sid", "effect", "action", "resource", "condition"}, where)
    if found.get("effect") != "Allow":
        raise Invalid(f"{where}.effect: must be Allow; whatever is not allowed is refused")
    actions, resources = (
        _texts(found.get("action"), f"{where}.action"),
        _texts(found.get("resource"), f"{where}.resource"),
    )
    if not actions or not resources:
        raise Invalid(f"{where}: action and resource must each name something")
    for action in actions:
        if not _ACTION.fullmatch(action):
            raise Invalid(f"{where}.action: must be like Function:List, Function:* or *")
    for resource in resources:
        _check_resource(resource, f"{where}.resource")
    return Statement(
        sid=_text(found.get("sid"), f"{where}.sid"),
        actions=actions,
        resources=resources,
        condition=_condition(found.get("condition"), f"{where}.condition"),
    )


def _check_resource(text: str, where: str) -> None:
    if text == EVERYTHING:
        return
    namespace, _, name = text.partition(":")  # Without a colon, the name is empty, and no name.
    try:
        parse_namespace_name(namespace)
        if name != EVERYTHING:
            parse_function_name(name)
    except Invalid as exc:
        raise Invalid(f"{where}: must be NAMESPACE:*, NAMESPACE:FUNCTION or *") from exc


def _role(name: str, spec: Mapping[str, Any]) -> RoleBinding:
    _only(spec, {"policy", "principal", "condition"})
    principal = _map(spec.get("principal") or {}, "spec.principal")
    _only(principal, {SUBJECT}, "spec.principal")
    subjects = _texts(principal.get(SUBJECT), f"spec.principal.{SUBJECT}")
    if principal and not subjects:
        raise Invalid(f"spec.principal.{SUBJECT}: must name somebody")
    condition = _condition(spec.get("condition"), "spec.condition")
    if not principal and not condition:
        raise Invalid("spec: needs a principal or a condition, or it would apply to everybody")
    return RoleBinding(
        name=name, policies=_texts(spec.get("policy"), "spec.policy"), principal=subjects, condition=condition
    )


def _condition(given: object, where: str) -> Condition:
    if given is None or given == {}:
        return {}
    found: dict[str, dict[str, Values]] = {}
    for operator, claims in _map(given, where).items():
        if operator.removeprefix(ANY_VALUE) not in OPERATORS:
            known = ", ".join([*sorted(OPERATORS), f"{ANY_VALUE}StringEqual"])
            raise Invalid(f"{where}: the operator {_shown(operator)} is not known; the known ones are {known}")
        for claim, values in _map(claims, f"{where}.{operator}").items():
            if not claim.startswith("jwt:") or len(claim) == 4:
                raise Invalid(f"{where}.{operator}: {_shown(claim)} must be jwt: and the name of a claim")
            texts = _texts(values, f"{where}.{operator}.{claim}")
            if not texts:
                raise Invalid(f"{where}.{operator}.{claim}: must have a value")
            found.setdefault(operator, {})[claim] = texts
        if operator not in found:
            raise Invalid(f"{where}.{operator}: must name a claim, or it would always be true")
    return found


def _statement_spec(one: Statement) -> dict[str, Any]:
    found: dict[str, Any] = {
        "sid": one.sid,
        "effect": "Allow",
        "action": list(one.actions),
        "resource": list(one.resources),
    }
    return {**found, "condition": _plain(one.condition)} if one.condition else found


def _plain(condition: Condition) -> dict[str, dict[str, list[str]]]:
    return {
        operator: {claim: list(values) for claim, values in claims.items()} for operator, claims in condition.items()
    }


def _map(given: object, where: str) -> Mapping[str, Any]:
    if not isinstance(given, dict) or len(given) > MAX_VALUES or not all(isinstance(key, str) for key in given):
        raise Invalid(f"{where}: must be a map of at most {MAX_VALUES} entries")
    return given


def _only(given: Mapping[str, Any], known: set[str], where: str = "spec") -> None:
    if extra := sorted(set(given) - known):
        raise Invalid(f"{where}: {_shown(extra[0])} is not known; the known ones are {', '.join(sorted(known))}")


def _texts(given: object, where: str) -> Values:
    """A list of texts, or one text."""
    several = given if isinstance(given, list) else [] if given is None else [given]
    if len(several) > MAX_VALUES:
        raise Invalid(f"{where}: has {len(several)} values; the most is {MAX_VALUES}")
    return tuple(_text(one, where) for one in several)


def _text(given: object, where: str) -> str:
    """A text; YAML reads some as numbers, such as a subject of digits."""
    text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
        raise Invalid(f"{where}: must be texts of 1 to {MAX_TEXT} characters")
    return text


def _url(given: object, where: str) -> str:
    text = _text(given, where)
    if not _URL.fullmatch(text):
        raise Invalid(f"{where}: must be a URL, without a user, a query or a fragment")
    return text


def _shown(text: str) -> str:
    return ascii(text[:80])
