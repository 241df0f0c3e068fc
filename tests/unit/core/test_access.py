"""Objects of `iam.openfaas.com/v1`: what OpenFaaS's pages show is read, what cannot be meant is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from hilbert.core.access import Issuer, Policy, RoleBinding, parse_document, to_manifest
from hilbert.core.errors import Invalid

ISSUER = """
apiVersion: iam.openfaas.com/v1
kind: JwtIssuer
metadata:
  name: github
  namespace: openfaas
spec:
  iss: https://token.actions.githubusercontent.com
  aud: [https://gateway.example.com]
  tokenExpiry: 30m
"""
POLICY = """
apiVersion: iam.openfaas.com/v1
kind: Policy
metadata: {name: dev-rw, namespace: openfaas}
spec:
  statement:
  - sid: 1-rw
    action: ["Function:List", "Function:*"]
    effect: Allow
    resource: ["dev:*", "staging:env", "*"]
    condition:
      StringEqual:
        jwt:email: [a@example.com]
"""
ROLE = """
apiVersion: iam.openfaas.com/v1
kind: Role
metadata: {name: staff, namespace: openfaas}
spec:
  policy: [dev-rw]
  principal: {"jwt:sub": [alice, bob]}
  condition:
    StringLike: {"jwt:iss": ["https://*.example.com"]}
    ForAnyValue:StringEqual: {"jwt:groups": [staff]}
"""


def read(text: str, **changes: Any) -> Any:
    """Parsed; `changes` replace parts of `spec`, None removes one."""
    document = yaml.safe_load(text)
    document["spec"].update(changes)
    document["spec"] = {key: value for key, value in document["spec"].items() if value is not None}
    return parse_document(document)


def test_the_three_kinds() -> None:
    issuer, policy, role = read(ISSUER), read(POLICY), read(ROLE)
    assert isinstance(issuer, Issuer)
    assert (issuer.iss, issuer.aud, issuer.expiry.seconds) == (
        "https://token.actions.githubusercontent.com", ("https://gateway.example.com",), 1800,
    )  # fmt: skip
    assert isinstance(policy, Policy)
    assert policy.statements[0].resources == ("dev:*", "staging:env", "*")
    assert policy.statements[0].condition == {"StringEqual": {"jwt:email": ("a@example.com",)}}
    assert isinstance(role, RoleBinding)
    assert role.principal == ("alice", "bob")
    for one in (issuer, policy, role):
        assert parse_document(to_manifest(one)) == one


def test_what_is_written_otherwise_than_the_schema() -> None:
    document = yaml.safe_load(ISSUER)
    document["tokenExpiry"] = document["spec"].pop("tokenExpiry").replace("30m", "1h30m")
    document["spec"]["aud"] = "one"
    found = parse_document(document)
    assert isinstance(found, Issuer)
    assert (found.expiry.seconds, found.aud) == (5400, ("one",))
    role = read(
        ROLE, principal={"jwt:sub": 1234567890}, policy="dev-rw", condition={"StringEqual": {"jwt:hd": "a.com"}}
    )
    assert (role.principal, role.policies) == (("1234567890",), ("dev-rw",))
    assert role.condition == {"StringEqual": {"jwt:hd": ("a.com",)}}
    statement = {"sid": 1, "effect": "Allow", "action": "*", "resource": "dev:*"}
    assert read(POLICY, statement=[statement]).statements[0].sid == "1"


def test_a_token_lives_for_half_an_hour_if_nothing_is_said() -> None:
    assert read(ISSUER, tokenExpiry=None).expiry.seconds == 1800


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        (ISSUER, {"iss": None}, "spec.iss"),
        (ISSUER, {"iss": "http://id.example.com"}, "https://"),
        (ISSUER, {"iss": "https://user@id.example.com"}, "spec.iss"),
        (ISSUER, {"iss": "ftp://id.example.com"}, "spec.iss"),
        (ISSUER, {"iss": "https://id.example.com?x"}, "spec.iss"),
        (ISSUER, {"aud": None}, "spec.aud"),
        (ISSUER, {"aud": []}, "spec.aud"),
        (ISSUER, {"aud": [""]}, "spec.aud"),
        (ISSUER, {"tokenExpiry": "soon"}, "spec.tokenExpiry"),
        (ISSUER, {"tokenExpiry": "0"}, "spec.tokenExpiry"),
        (ISSUER, {"tokenExpiry": "25h"}, "at most 24h"),
        (ISSUER, {"issuer": "x"}, "'issuer' is not known"),
        (POLICY, {"statement": []}, "spec.statement"),
        (POLICY, {"statement": None}, "spec.statement"),
        (POLICY, {"statement": [{"sid": "1", "effect": "Deny", "action": ["*"], "resource": ["*"]}]}, "must be Allow"),
        (POLICY, {"statement": [{"sid": "1", "action": ["*"], "resource": ["*"]}]}, "must be Allow"),
        (POLICY, {"statement": [{"effect": "Allow", "action": ["*"], "resource": ["*"]}]}, "sid"),
        (
            POLICY,
            {"statement": [{"sid": "1", "effect": "Allow", "action": [], "resource": ["*"]}]},
            "action and resource",
        ),
        (
            POLICY,
            {"statement": [{"sid": "1", "effect": "Allow", "action": ["Fun*"], "resource": ["*"]}]},
            "Function:List",
        ),
        *(
            (
                POLICY,
                {"statement": [{"sid": "1", "effect": "Allow", "action": ["*"], "resource": [wrong]}]},
                "NAMESPACE:",
            )
            for wrong in ("dev", "dev:", ":f", "*:*", "dev-*:*", "dev.*:f", "Dev:*", "dev:f:g", "dev:*x")
        ),
        (ROLE, {"principal": None, "condition": None}, "apply to everybody"),
        (ROLE, {"principal": {}, "condition": {}}, "apply to everybody"),
        (ROLE, {"principal": {"jwt:email": ["a"]}}, "'jwt:email' is not known"),
        (ROLE, {"principal": {"jwt:sub": []}}, "must name somebody"),
        (ROLE, {"condition": {"StringNotEqual": {"jwt:iss": ["a"]}}}, "'StringNotEqual' is not known"),
        (ROLE, {"condition": {"ForAllValues:StringEqual": {"jwt:iss": ["a"]}}}, "is not known"),
        (ROLE, {"condition": {"StringEqual": {}}}, "always be true"),
        (ROLE, {"condition": {"StringEqual": {"jwt:iss": []}}}, "must have a value"),
        (ROLE, {"condition": {"StringEqual": {"iss": ["a"]}}}, "must be jwt:"),
        (ROLE, {"condition": {"StringEqual": {"jwt:": ["a"]}}}, "must be jwt:"),
        (ROLE, {"condition": {"StringEqual": ["jwt:iss"]}}, "must be a map"),
        (ROLE, {"condition": {"StringEqual": {"jwt:iss": [True]}}}, "must be texts"),
        (ROLE, {"condition": {"StringEqual": {"jwt:iss": ["x" * 1025]}}}, "must be texts"),
        (ROLE, {"policy": ["p"] * 257}, "the most is 256"),
    ],
)
def test_what_cannot_be_meant(text: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(text, **changes)
    assert message in caught.value.message
    assert yaml.safe_load(text)["metadata"]["name"] in caught.value.message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"apiVersion": "v1"}, "apiVersion"),
        ({"kind": "RoleBinding"}, "kind"),
        ({"kind": ["Role"]}, "kind"),
        ({"metadata": {"name": "A"}}, "metadata.name"),
        ({"metadata": {"name": "a/b"}}, "metadata.name"),
        ({"metadata": {}}, "metadata.name"),
        ({"metadata": {"name": "a", "namespace": "dev"}}, "must be openfaas"),
        ({"spec": None}, "spec"),
        ({"spec": []}, "spec"),
    ],
)
def test_what_is_no_such_object(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        parse_document({**yaml.safe_load(ROLE), **changes})
    for wrong in (None, [], "x", 1):
        with pytest.raises(Invalid):
            parse_document(wrong)


def test_an_issuer_that_is_reached_from_inside() -> None:
    found = read(ISSUER, iss="http://id.example.com", issInternal="http://keycloak.svc:8080/realms/a")
    assert found.internal == "http://keycloak.svc:8080/realms/a"
    assert read(ISSUER, iss="http://127.0.0.1:9000").iss == "http://127.0.0.1:9000"
    with pytest.raises(Invalid):
        read(ISSUER, iss="http://127.0.0.1.example.com")
