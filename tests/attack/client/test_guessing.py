"""Guessing the password at full speed: it slows the guesser down and nobody else (CWE-307)."""

from __future__ import annotations

import base64
import http.client
from collections import Counter
from collections.abc import Iterator

import pytest

from hilbert.iam.guesses import BURST
from support.api import CREDENTIALS
from support.site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site(CREDENTIALS)
    yield made
    made.close()


class Client:
    """One connection from an address of its own."""

    def __init__(self, site: Site, source: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20, source_address=(source, 0))

    def ask(self, password: str, path: str = "/system/info", **headers: str) -> tuple[int, dict[str, str]]:
        token = base64.b64encode(f"{CREDENTIALS.user}:{password}".encode()).decode()
        self.connection.request("GET", path, headers={"Authorization": f"Basic {token}", **headers})
        answer = self.connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def test_a_flood_of_wrong_passwords(site: Site) -> None:
    guesser, other = Client(site, "127.0.0.2"), Client(site, "127.0.0.3")
    seen: Counter[int] = Counter()
    for number in range(300):
        # What a client says of its own address is not believed.
        status, headers = guesser.ask(f"guess-{number}", **{"X-Forwarded-For": f"192.0.2.{number % 250}"})
        seen[status] += 1
        assert status != 429 or int(headers["retry-after"]) >= 1
        if number % 30 == 0:
            assert other.ask(CREDENTIALS.password)[0] == 200
    assert set(seen) == {401, 429}
    assert seen[401] < BURST * 3
    assert guesser.ask(CREDENTIALS.password)[0] == 429
    assert other.ask(CREDENTIALS.password)[0] == 200
    assert guesser.ask("", "/healthz")[0] == 200
    guesser.connection.close()
    other.connection.close()
