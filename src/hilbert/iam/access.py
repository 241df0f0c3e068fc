"""Issuers, policies and roles as they are now, and what they give to whom. Pure, but for being replaced whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from hilbert.core.access import Document, Issuer, Policy, RoleBinding, kind_of
from hilbert.core.identity import EVERYTHING, Action, Grant
from hilbert.iam.conditions import Claims, meets


class _Public(NamedTuple):
    """An issuer with which anybody can have a token."""

    whose: str
    """Of whom there are so many."""
    claims: frozenset[str]
    """One of these has to be asked for, since they say whose it is."""
    prefix: str = ""
    """How `sub` begins."""


PUBLIC: Final[Mapping[str, _Public]] = {
    "https://token.actions.githubusercontent.com": _Public(
        "repository on GitHub",
        frozenset({"repository", "repository_id", "repository_owner", "repository_owner_id", "enterprise", "enterprise_id"}),
        "repo:",
    ),
    "https://gitlab.com": _Public(
        "project on GitLab",
        frozenset({"project_id", "project_path", "namespace_id", "namespace_path", "user_id", "user_login"}),
        "project_path:",
    ),
    "https://accounts.google.com": _Public("Google account", frozenset({"email", "hd"})),
}  # fmt: skip
"""Bitbucket and others have an issuer for each customer or cluster, so that the issuer alone says whose a token is."""


class Access:
    """One set of objects. `version` changes with it."""

    def __init__(self, documents: Iterable[Document] = ()) -> None:
        self.version = 0
        self._issuers: dict[str, Issuer] = {}
        self._policies: dict[str, Policy] = {}
        self._roles: dict[str, RoleBinding] = {}
        self._named: dict[tuple[str, str], Document] = {}
        self.replace(documents)

    def replace(self, documents: Iterable[Document]) -> None:
        """Take these instead of all that were there. Of two issuers with one `iss`, the first by name counts."""
        found = sorted(documents, key=lambda one: (kind_of(one), one.name))
        self._named = {(kind_of(one), one.name): one for one in found}
        self._issuers, self._policies, self._roles = {}, {}, {}
        for one in found:
            match one:
                case Issuer():
                    self._issuers.setdefault(one.iss, one)
                case Policy():
                    self._policies[one.name] = one
                case RoleBinding():
                    self._roles[one.name] = one
        self.version += 1

    def all(self) -> list[Document]:
        return list(self._named.values())

    def find(self, kind: str, name: str) -> Document | None:
        return self._named.get((kind, name))

    def issuer(self, iss: str) -> Issuer | None:
        """The issuer with exactly this `iss`."""
        return self._issuers.get(iss)

    def issuers(self) -> list[Issuer]:
        return list(self._issuers.values())

    def policies_of(self, claims: Claims) -> list[str]:
        """Names of the policies that some role gives to whoever has these claims, as their issuer signed them."""
        names: dict[str, None] = {}
        for role in self._roles.values():
            if _is_held(role, claims):
                names.update(dict.fromkeys(role.policies))
        return [name for name in names if name in self._policies]

    def grants(self, names: Iterable[str], claims: Claims) -> tuple[Grant, ...]:
        """The rights in these policies, of those statements whose condition the claims meet."""
        return tuple(
            Grant(statement.actions, statement.resources, f"policy {name}/{statement.sid}")
            for name in names
            if name in self._policies
            for statement in self._policies[name].statements
            if meets(statement.condition, claims)
        )

    def open_roles(self) -> Mapping[str, str]:
        """Roles that strangers can have, each with why: they trust an issuer with which everybody can sign in."""
        found = {}
        for role in self._roles.values():
            for iss, public in PUBLIC.items():
                if iss in self._issuers and _lets_anybody_in(role, iss, public):
                    found[role.name] = f"every {public.whose} can have it"
        return found

    def unknown_actions(self) -> Mapping[str, list[str]]:
        """Actions, by policy, that no endpoint asks for. Old examples of OpenFaaS have some; they grant nothing."""
        found = {}
        for policy in self._policies.values():
            actions = {action for one in policy.statements for action in one.actions}
            if odd := sorted(action for action in actions if not _is_known(action)):
                found[policy.name] = odd
        return found


def _is_held(role: RoleBinding, claims: Claims) -> bool:
    if not role.principal and not role.condition:
        return False
    return (not role.principal or claims.get("sub") in role.principal) and meets(role.condition, claims)


def _lets_anybody_in(role: RoleBinding, iss: str, public: _Public) -> bool:
    """Whether a token of that issuer needs nothing else that only its owner has."""
    if role.principal:
        return False  # Whole subjects: one repository's, or some other issuer's.
    for operator, wanted in role.condition.items():
        for claim, values in wanted.items():
            name = claim.removeprefix("jwt:")
            if name == "iss" and not meets({operator: {claim: values}}, {"iss": iss}):
                return False
            if name in public.claims and all(_is_narrow(value) for value in values):
                return False
            if name == "sub" and all(_is_narrow(value.removeprefix(public.prefix)) for value in values):
                return False
    return True


def _is_narrow(pattern: str) -> bool:
    """Whether a value says whose it is.

    `acme/*` and `*@acme.com` do; `acme*` is also what `acme-of-somebody-else` is like.
    """
    before, wildcard, after = pattern.partition("*")
    return not wildcard or "/" in before or "@" in after.rpartition("*")[2]


def _is_known(action: str) -> bool:
    kind, _, name = action.partition(":")
    if action == EVERYTHING:
        return True
    return any(known.startswith(f"{kind}:") if name == EVERYTHING else known == action for known in Action)
