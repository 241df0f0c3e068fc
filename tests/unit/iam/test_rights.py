"""May this caller do that there? A table of cases, and what holds for any grants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.core.identity import ADMINISTRATOR, NOBODY, PLATFORM, Action, Caller, Grant, Resource
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.iam.rights import may, may_somewhere, sees

DEV, PROD = NamespaceName("dev"), NamespaceName("prod")
IN_DEV = Resource(DEV)
FUNCTION = Resource(DEV, FunctionRef(DEV, FunctionName("f")))
OTHER = Resource(DEV, FunctionRef(DEV, FunctionName("g")))
RESOURCES = (PLATFORM, IN_DEV, Resource(PROD), FUNCTION, OTHER)


def caller(*grants: tuple[str, str]) -> Caller:
    return Caller(identity="x", grants=tuple(Grant((action,), (resource,)) for action, resource in grants))


@pytest.mark.parametrize(
    ("grant", "action", "allowed"),
    [
        (("*", "*"), Action.SYSTEM_INFO, RESOURCES),
        (("Function:*", "*"), Action.FUNCTION_GET, RESOURCES),
        (("Function:*", "*"), Action.SECRET_LIST, ()),
        (("Function:Get", "dev:*"), Action.FUNCTION_GET, (IN_DEV, FUNCTION, OTHER)),
        (("Function:Get", "dev:*"), Action.FUNCTION_LIST, ()),
        (("Function:Get", "dev:f"), Action.FUNCTION_GET, (FUNCTION,)),
        (("*", "dev:*"), Action.SYSTEM_INFO, (IN_DEV, FUNCTION, OTHER)),
        (("Function:Get", "de:*"), Action.FUNCTION_GET, ()),
        (("Function:Get", "dev"), Action.FUNCTION_GET, ()),
        (("Function:Get", "*:*"), Action.FUNCTION_GET, ()),
        (("function:get", "*"), Action.FUNCTION_GET, ()),
        (("Function", "*"), Action.FUNCTION_GET, ()),
    ],
)
def test_one_grant(grant: tuple[str, str], action: Action, allowed: tuple[Resource, ...]) -> None:
    assert tuple(resource for resource in RESOURCES if may(caller(grant), action, resource)) == allowed


def test_rights_add_up_but_never_across_grants() -> None:
    both = caller(("Function:Get", "dev:*"), ("Secret:List", "prod:*"))
    assert may(both, Action.FUNCTION_GET, IN_DEV)
    assert may(both, Action.SECRET_LIST, Resource(PROD))
    assert not may(both, Action.SECRET_LIST, IN_DEV)


def test_somewhere_and_seen() -> None:
    one = caller(("Function:Invoke", "dev:f"))
    assert sees(one, DEV)
    assert not sees(one, PROD)
    assert not sees(one, NamespaceName("de"))
    assert may_somewhere(caller(("Namespace:*", "dev:*")), Action.NAMESPACE_LIST)
    assert not may_somewhere(one, Action.NAMESPACE_LIST)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("resource", RESOURCES)
def test_the_administrator_may_everything_and_nobody_nothing(action: Action, resource: Resource) -> None:
    assert may(ADMINISTRATOR, action, resource)
    assert not may(NOBODY, action, resource)
    assert not may_somewhere(NOBODY, action)


GRANTS = st.lists(
    st.tuples(
        st.sampled_from(["*", "Function:*", "Function:Get", "Secret:List", "x"]),
        st.sampled_from(["*", "dev:*", "dev:f", "prod:*", "x"]),
    ),
    max_size=4,
)


@given(GRANTS, GRANTS, st.sampled_from(list(Action)), st.sampled_from(RESOURCES))
def test_more_grants_never_take_a_right_away(
    some: list[tuple[str, str]], more: list[tuple[str, str]], action: Action, resource: Resource
) -> None:
    if may(caller(*some), action, resource):
        for order in ((*some, *more), (*more, *some)):
            assert may(caller(*order), action, resource)
            assert may_somewhere(caller(*order), action)
            assert resource.namespace is None or sees(caller(*order), resource.namespace)
