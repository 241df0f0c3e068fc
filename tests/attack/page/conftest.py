"""A real browser, a gateway of a worker and the REST API, and functions whose answers the attacker writes."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from attack.oracle import Pair
from support.api import CREDENTIALS
from support.dataplane import Plane
from support.site import NAME, Site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

EVIL = "evil.test"

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
    # A guard of this browser's own against pages that reach into local networks: the gateway must do without it.
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for the module; tests take a context each, which shares nothing with others."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def calm() -> Iterator[Plane]:
    """A worker that no page attacks."""
    made = Plane()
    yield made
    made.close()


@pytest.fixture
def site(calm: Plane) -> Iterator[Site]:
    with watched(Site(CREDENTIALS), calm) as made:
        yield made


@pytest.fixture
def open_site(calm: Plane) -> Iterator[Site]:
    """One without a password."""
    with watched(Site(None), calm) as made:
        yield made


@contextlib.contextmanager
def watched(made: Site, calm: Plane) -> Iterator[Site]:
    """Whatever a page does inside, somebody else's calls are answered in time, the API answers, and nothing has changed."""
    pair = Pair(made.plane, calm)
    try:
        with pair.watching():
            yield made
            assert made.unchanged(), "whatever a page did, the victim's function and secret are as they were"
            assert made.plane.call("/system/info").status < 500
    finally:
        pair.stop()
        made.close()


@pytest.fixture
def context(chromium: Any) -> Iterator[Any]:
    """A browser's profile that would answer every request for a password with the administrator's."""
    made = chromium.new_context(http_credentials={"username": CREDENTIALS.user, "password": CREDENTIALS.password})
    made.set_default_timeout(15_000)
    yield made
    made.close()


def sign_in(context: Any, site: Site, host: str = NAME) -> Any:
    """A tab in which the administrator has signed in and sees the functions."""
    page = context.new_page()
    page.goto(site.url("/ui/", host))
    page.fill("input[name=user]", CREDENTIALS.user)
    page.fill("input[name=password]", CREDENTIALS.password)
    page.click("#sign-in button")
    page.wait_for_selector("text=victim:1")
    return page
