"""Paths to endpoints: spellings, names in paths, methods, and declarations that contradict each other."""

from __future__ import annotations

import pytest

from hilbert.api.asgi import Answer
from hilbert.api.endpoint import Access, Call, Endpoint
from hilbert.api.endpoints import ENDPOINTS
from hilbert.api.problems import Refusal
from hilbert.api.router import Router


async def handler(_call: Call) -> Answer:
    return Answer(200)


def endpoint(method: str, path: str, *aliases: str, access: Access = Access.SIGNED_IN) -> Endpoint:
    return Endpoint(method=method, path=path, aliases=aliases, handler=handler, access=access, group="g", summary="s")


ROUTER = Router(
    [
        endpoint("GET", "/"),
        endpoint("GET", "/a"),
        endpoint("PUT", "/a"),
        endpoint("POST", "/b/"),
        endpoint("GET", "/b/{name}", "/bs/{name}"),
        endpoint("GET", "/open", access=Access.PUBLIC),
        endpoint("POST", "/queue/{rest}", access=Access.PUBLIC),
    ]
)


@pytest.mark.parametrize(
    ("path", "declared", "name"),
    [
        ("/", "/", ""),
        ("//", "/", ""),
        ("/a", "/a", ""),
        ("/a/", "/a", ""),
        ("//a//", "/a", ""),
        ("/b", "/b", ""),
        ("/b/", "/b", ""),
        ("/b/x.y-Z_9", "/b/{name}", "x.y-Z_9"),
        ("/b/x/", "/b/{name}", "x"),
        ("/bs/x", "/bs/{name}", "x"),
        ("/queue/x", "/queue/{rest}", "x"),
        ("/queue/x//y/", "/queue/{rest}", "x//y/"),
    ],
)
def test_paths_that_are_known(path: str, declared: str, name: str) -> None:
    found = ROUTER.find(path)
    assert found is not None
    assert (found.path, found.name) == (declared, name)


@pytest.mark.parametrize("path", ["", "a", "/A", "/b/x/y", "/b/ ", "/b/é", "/b/x%", "/queue", "/queue/", "/c", "/a\n"])
def test_paths_that_are_not(path: str) -> None:
    assert ROUTER.find(path) is None


@pytest.mark.parametrize(("path", "public"), [("/open", True), ("/open/", False), ("//open", False), ("/a", False)])
def test_only_the_exact_spelling_is_public(path: str, public: bool) -> None:
    found = ROUTER.find(path)
    assert found is not None
    assert found.is_public("GET") is public


def test_another_method_is_told_what_the_path_takes() -> None:
    found = ROUTER.find("/a")
    assert found is not None
    with pytest.raises(Refusal) as refused:
        found.endpoint("DELETE")
    assert (refused.value.status, refused.value.headers) == (405, {"Allow": "GET, PUT"})


def test_two_declarations_of_one_thing_are_refused() -> None:
    with pytest.raises(RuntimeError, match="declared twice"):
        Router([endpoint("GET", "/a"), endpoint("GET", "/x", "/a/")])


def test_every_endpoint_is_found_by_its_own_path_and_its_aliases() -> None:
    router = Router(ENDPOINTS)
    for found in ENDPOINTS:
        for path in (found.path, *found.aliases):
            match = router.find(path.replace("{name}", "dev").replace("{rest}", "x/y"))
            assert match is not None
            assert match.endpoint(found.method) is found
