"""Roles and policies: who gets what; and roles that anybody on earth could have."""

from __future__ import annotations

from typing import Any

import pytest

from hilbert.core.access import parse_document
from hilbert.iam.access import Access
from support.issuer import Issuer, issuer_object, policy_object, role_object

ISS = "https://id.example.com"
GITHUB = "https://token.actions.githubusercontent.com"


def access(*objects: dict[str, Any]) -> Access:
    return Access(parse_document(one) for one in objects)


def test_roles_add_up() -> None:
    found = access(
        policy_object("read", "dev:*", ["Function:List"]),
        policy_object("write", "dev:*", ["Function:Create"]),
        policy_object("all", "*", "*"),
        role_object("a", ["read"], principal={"jwt:sub": ["alice", "bob"]}),
        role_object("b", ["write", "missing"], principal={"jwt:sub": ["alice"]}),
        role_object("c", ["all"], condition={"StringEqual": {"jwt:email": ["root@example.com"]}}),
    )
    assert found.policies_of({"iss": ISS, "sub": "alice"}) == ["read", "write"]
    assert found.policies_of({"iss": ISS, "sub": "bob"}) == ["read"]
    assert found.policies_of({"iss": ISS, "sub": "Alice"}) == []
    assert found.policies_of({"iss": ISS, "sub": "x", "email": "root@example.com"}) == ["all"]
    grants = found.grants(["read", "write", "missing"], {})
    assert [(grant.actions, grant.resources) for grant in grants] == [
        (("Function:List",), ("dev:*",)), (("Function:Create",), ("dev:*",)),
    ]  # fmt: skip


def test_principal_and_condition_must_both_match() -> None:
    found = access(
        policy_object("p", "dev:*", "*"),
        role_object("r", ["p"], principal={"jwt:sub": ["alice"]}, condition={"StringEqual": {"jwt:iss": [ISS]}}),
    )
    assert found.policies_of({"iss": ISS, "sub": "alice"}) == ["p"]
    assert found.policies_of({"iss": "https://evil.example.com", "sub": "alice"}) == []
    assert found.policies_of({"iss": ISS, "sub": "bob"}) == []
    assert found.policies_of({"iss": ISS, "sub": ["alice"]}) == []


def test_a_statement_counts_only_where_its_condition_is_met() -> None:
    condition = {"StringEqual": {"jwt:environment": ["production"]}}
    found = access(policy_object("p", "prod:*", "Function:Update", condition))
    assert found.grants(["p"], {"environment": "production"})
    assert not found.grants(["p"], {"environment": "staging"})


def test_of_two_issuers_with_one_name_the_first_counts() -> None:
    found = access(issuer_object(Issuer(ISS), "b", aud=["two"]), issuer_object(Issuer(ISS), "a", aud=["one"]))
    issuer = found.issuer(ISS)
    assert issuer is not None
    assert issuer.aud == ("one",)
    for other in (ISS + "/", ISS.upper(), ISS[:-1], "", ISS + "\u200b"):
        assert found.issuer(other) is None


@pytest.mark.parametrize(
    ("condition", "is_open"),
    [
        ({"StringEqual": {"jwt:iss": [GITHUB]}}, True),
        ({"StringLike": {"jwt:iss": ["https://*"]}}, True),
        ({"StringLike": {"jwt:sub": ["*"]}}, True),
        ({"StringLike": {"jwt:sub": ["repo:*"]}}, True),
        ({"StringLike": {"jwt:sub": ["repo:acme*"]}}, True),
        ({"StringLike": {"jwt:sub": ["repo:acme/*"]}}, False),
        ({"StringLike": {"jwt:sub": ["repo:acme/*", "*"]}}, True),
        ({"StringEqual": {"jwt:sub": ["repo:acme/x:ref:refs/heads/main"]}}, False),
        ({"StringEqual": {"jwt:repository_owner": ["acme"]}}, False),
        ({"StringLike": {"jwt:repository_owner": ["acme*"]}}, True),
        ({"StringLike": {"jwt:repository": ["acme/*"]}}, False),
        ({"StringEqual": {"jwt:repository_id": [456]}}, False),
        ({"StringEqual": {"jwt:environment": ["production"]}}, True),
        ({"StringEqual": {"jwt:ref": ["refs/heads/main"]}}, True),
        ({"StringEqual": {"jwt:iss": ["https://gitlab.com"]}}, False),
    ],
)
def test_roles_that_every_repository_on_earth_could_have(condition: dict[str, Any], is_open: bool) -> None:
    found = access(
        issuer_object(Issuer(GITHUB)), policy_object("p", "dev:*", "*"), role_object("ci", ["p"], condition=condition)
    )
    assert ("ci" in found.open_roles()) is is_open
    assert not access(role_object("ci", ["p"], condition=condition)).open_roles()


def test_other_issuers_that_everybody_has_an_account_with() -> None:
    for iss, open_one, narrow in (
        ("https://gitlab.com", {"jwt:ref": ["main"]}, {"jwt:project_path": ["acme/*"]}),
        ("https://accounts.google.com", {"jwt:email_verified": ["true"]}, {"jwt:email": ["*@acme.com"]}),
    ):
        for condition, is_open in ((open_one, True), (narrow, False)):
            role = role_object("r", ["p"], condition={"StringLike": condition})
            assert bool(access(issuer_object(Issuer(iss)), role).open_roles()) is is_open


def test_actions_that_are_not_known_are_told() -> None:
    found = access(policy_object("old", "dev:*", ["Function:Read", "Function:List", "Function:*", "*", "Magic:*"]))
    assert found.unknown_actions() == {"old": ["Function:Read", "Magic:*"]}
