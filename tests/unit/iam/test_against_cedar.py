"""Our decisions beside Cedar's, on generated roles, policies and claims: two evaluators that share no line agree.

Left out is what Cedar has no word for: comparison without regard to case, and claims that are numbers or booleans.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hilbert.core.access import Document, Policy, RoleBinding, Statement
from hilbert.core.identity import PLATFORM, Action, Caller, Resource
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.iam.access import Access
from hilbert.iam.rights import may

cedarpy: Any = pytest.importorskip("cedarpy", reason="cedarpy has no wheel for this machine")

NAMESPACES, FUNCTIONS = ("dev", "prod"), ("f", "g")
RESOURCES = (
    PLATFORM,
    *(Resource(NamespaceName(name)) for name in NAMESPACES),
    *(Resource(NamespaceName(name), FunctionRef.parse(f"{fn}.{name}")) for name in NAMESPACES for fn in FUNCTIONS),
)
ACTIONS = (Action.FUNCTION_LIST, Action.FUNCTION_CREATE, Action.SECRET_LIST, Action.SYSTEM_INFO)
KINDS = sorted({action.partition(":")[0] for action in ACTIONS})

texts = st.sampled_from(["a", "b", "ab", "a*b"])
patterns = st.sampled_from(["a", "b", "a*", "*b", "*", "a*b"])
values = st.lists(patterns, min_size=1, max_size=3).map(tuple)
claims_of = st.sampled_from(["sub", "iss", "groups", "other"])
operators = st.sampled_from(["StringEqual", "StringEquals", "StringLike", "ForAnyValue:StringEqual"])
conditions = st.one_of(
    st.just({}),
    st.dictionaries(
        operators,
        st.dictionaries(claims_of.map("jwt:{}".format), values, min_size=1, max_size=2),
        min_size=1,
        max_size=2,
    ),
)
statements = st.builds(
    Statement,
    sid=st.just("s"),
    actions=st.lists(st.sampled_from([*ACTIONS, *(f"{kind}:*" for kind in KINDS), "*"]), min_size=1, max_size=2).map(
        lambda found: tuple(map(str, found))
    ),
    resources=st.lists(
        st.sampled_from(["*", *(f"{ns}:*" for ns in NAMESPACES), *(f"{ns}:{fn}" for ns in NAMESPACES for fn in FUNCTIONS)]),
        min_size=1, max_size=2,
    ).map(tuple),
    condition=conditions,
)  # fmt: skip
policies = st.lists(statements, min_size=1, max_size=2).map(tuple)
roles = st.builds(
    RoleBinding,
    name=st.just("r"),
    policies=st.lists(st.sampled_from(["p0", "p1", "absent"]), min_size=1, max_size=2).map(tuple),
    principal=st.one_of(st.just(()), st.just(("a", "b", "ab", "a*b")), values),
    condition=st.one_of(st.just({}), conditions),
)
claims = st.fixed_dictionaries(
    {"sub": texts}, optional={"iss": texts, "groups": st.lists(texts, max_size=2), "other": texts}
)


def _uid(resource: Resource) -> dict[str, str]:
    if resource.ref is not None:
        return {"type": "Function", "id": f"{resource.ref.namespace}:{resource.ref.name}"}
    return {"type": "Namespace", "id": resource.namespace} if resource.namespace else {"type": "Platform", "id": "*"}


REQUESTS = [
    {
        "principal": 'User::"x"',
        "action": f'Action::"{action.value}"',
        "resource": f'{_uid(resource)["type"]}::"{_uid(resource)["id"]}"',
        "context": {},
    }
    for action in ACTIONS
    for resource in RESOURCES
]


def cedar(roles_given: list[RoleBinding], policies_given: list[Policy]) -> str:
    """The same rights in Cedar's language, a permit for each statement that a role gives."""
    by_name = {policy.name: policy for policy in policies_given}
    found = []
    for role in roles_given:
        if not role.principal and not role.condition:
            continue
        held = [
            _condition(role.condition),
            *([f"{_list(role.principal)}.contains(principal.sub)"] if role.principal else []),
        ]
        for name in role.policies:
            for statement in by_name[name].statements if name in by_name else ():
                actions = ", ".join(f'Action::"{action}"' for action in statement.actions)
                for resource in statement.resources:
                    when = " && ".join([*held, _condition(statement.condition)])
                    found.append(
                        f"permit(principal, action in [{actions}], resource in {_resource(resource)}) when {{ {when} }};"
                    )
    return "\n".join(found)


def _condition(condition: Mapping[str, Mapping[str, tuple[str, ...]]]) -> str:
    parts = ["true"]
    for operator, wanted in condition.items():
        for key, several in wanted.items():
            claim = key.removeprefix("jwt:")
            if operator == "StringLike":
                test = " || ".join(f"principal.{claim} like {json.dumps(value)}" for value in several)
            elif operator.startswith("ForAnyValue:"):
                test = f"principal.{claim}.containsAny({_list(several)})"
            else:
                test = f"{_list(several)}.contains(principal.{claim})"
            parts.append(f"principal has {claim} && ({test})")
    return " && ".join(f"({part})" for part in parts)


def _list(several: tuple[str, ...]) -> str:
    return f"[{', '.join(map(json.dumps, several))}]"


def _resource(text: str) -> str:
    namespace, _, name = text.partition(":")
    if text == "*":
        return 'Platform::"*"'
    return f'Namespace::"{namespace}"' if name == "*" else f'Function::"{text}"'


def entities(of: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [{"uid": {"type": "User", "id": "x"}, "attrs": dict(of), "parents": []}]
    for resource in RESOURCES:
        parents = (
            [] if resource is PLATFORM else [_uid(PLATFORM if resource.ref is None else Resource(resource.namespace))]
        )
        found.append({"uid": _uid(resource), "attrs": {}, "parents": parents})
    every = {"type": "Action", "id": "*"}
    kind_ids = [{"type": "Action", "id": f"{kind}:*"} for kind in KINDS]
    found.append({"uid": every, "attrs": {}, "parents": []})
    found += [{"uid": kind, "attrs": {}, "parents": [every]} for kind in kind_ids]
    for action in ACTIONS:
        parent = {"type": "Action", "id": f"{action.partition(':')[0]}:*"}
        found.append({"uid": {"type": "Action", "id": action.value}, "attrs": {}, "parents": [parent]})
    return found


def test_both_decide_alike() -> None:
    seen: Counter[bool] = Counter()

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(st.lists(roles, min_size=1, max_size=3), st.lists(policies, min_size=2, max_size=2), claims)
    def compare(given_roles: list[RoleBinding], given_policies: list[Any], of: dict[str, Any]) -> None:
        named = [Policy(name=f"p{number}", statements=found) for number, found in enumerate(given_policies)]
        bindings = [msgspec.structs.replace(role, name=f"r{number}") for number, role in enumerate(given_roles)]
        documents: list[Document] = [*named, *bindings]
        access = Access(documents)
        caller = Caller(identity="x", grants=access.grants(access.policies_of(of), of))
        answers = cedarpy.is_authorized_batch(REQUESTS, cedar(bindings, named), entities(of))
        assert not any("parse" in error for answer in answers for error in answer.diagnostics.errors)
        theirs = [answer.allowed for answer in answers]
        ours = [may(caller, action, resource) for action in ACTIONS for resource in RESOURCES]
        assert ours == theirs
        seen.update(theirs)

    compare()
    assert min(seen[True], seen[False]) > 100, "the examples are all of one kind, so they show little"


def test_the_comparison_can_fail() -> None:
    """Cedar really decides: it allows something, and not everything."""
    policy = Policy(name="p0", statements=(Statement(sid="s", actions=("Function:*",), resources=("dev:*",)),))
    role = RoleBinding(name="r", policies=("p0",), principal=("a",))
    text = cedar([role], [policy])
    for action, allowed in ((Action.FUNCTION_LIST, True), (Action.SECRET_LIST, False)):
        request = {
            "principal": 'User::"x"',
            "action": f'Action::"{action}"',
            "resource": 'Function::"dev:f"',
            "context": {},
        }
        assert cedarpy.is_authorized(request, text, entities({"sub": "a"})).allowed is allowed
