"""Pages for people: where they are, and that nothing on them comes from elsewhere."""

from __future__ import annotations

import re

import pytest

from support.api import Api

pytestmark = pytest.mark.anyio

PAGES = {
    "/ui/": "text/html; charset=utf-8",
    "/ui": "text/html; charset=utf-8",
    "/ui/ui.js": "text/javascript; charset=utf-8",
    "/ui/page.css": "text/css; charset=utf-8",
    "/openapi/": "text/html; charset=utf-8",
    "/openapi/openapi.js": "text/javascript; charset=utf-8",
}


async def test_the_root_leads_to_the_front_page(api: Api) -> None:
    answer = await api.call("GET", "/")
    assert (answer.status, answer.headers["location"]) == (307, "/ui/")


@pytest.mark.parametrize(("path", "kind"), PAGES.items())
async def test_pages_allow_nothing_from_elsewhere(api: Api, path: str, kind: str) -> None:
    answer = await api.call("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/ui/", "/openapi/"])
async def test_pages_refer_to_what_is_served(api: Api, path: str) -> None:
    page = (await api.call("GET", path)).text
    found = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(found) >= 3
    for target in found:
        assert target.startswith("/")
        assert (await api.call("GET", target)).status == 200
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", page)


async def test_scripts_never_make_markup_of_what_they_read(api: Api) -> None:
    for path in ("/ui/ui.js", "/openapi/openapi.js"):
        script = (await api.call("GET", path)).text
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)
