"""Single sign-on with a real identity provider: every flow of the command line, groups, its keys' rotation, an outage."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import yaml

from hilbert.core.access import Issuer
from hilbert.iam.fetch import Fetcher
from hilbert.iam.issuer_keys import ASKED_EVERY, IssuerKeys
from hilbert.iam.jose import check_signature, take_apart
from support.oidc import IdentityProvider, Person
from support.platform import Platform

AUDIENCE = "https://gateway.example.com"
ACCESS = """
apiVersion: iam.openfaas.com/v1
kind: JwtIssuer
metadata: {name: idp}
spec:
  iss: URL
  aud: [cli, AUDIENCE]
  tokenExpiry: 1h
---
apiVersion: iam.openfaas.com/v1
kind: Policy
metadata: {name: dev-rw}
spec:
  statement:
  - sid: rw
    effect: Allow
    action: ["Function:*", "Namespace:List", "Namespace:Get"]
    resource: ["dev:*"]
---
apiVersion: iam.openfaas.com/v1
kind: Role
metadata: {name: developers}
spec:
  policy: [dev-rw]
  condition:
    StringEqual: {"jwt:iss": [URL]}
    ForAnyValue:StringEqual: {"jwt:groups": [developers]}
---
apiVersion: iam.openfaas.com/v1
kind: Role
metadata: {name: robots}
spec:
  policy: [dev-rw]
  principal: {"jwt:sub": [robot]}
"""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityProvider]:
    made = IdentityProvider(tmp_path_factory.mktemp("idp") / "keys")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def platform(provider: IdentityProvider) -> Iterator[Platform]:
    made = Platform(f"iam.public_url={AUDIENCE}")
    try:
        yield prepared(made.start(), provider)
    finally:
        made.close()


def prepared(made: Platform, provider: IdentityProvider) -> Platform:
    made.hilbert("namespace", "create", "dev")
    made.hilbert("store", "deploy", "figlet", "-n", "dev")
    text = ACCESS.replace("URL", provider.url).replace("AUDIENCE", AUDIENCE)
    assert b"Role developers created" in made.hilbert("iam", "apply", "-f", "-", stdin=text.encode()).stdout
    return made


def auth(platform: Platform, home: Path, *args: str, **more: str) -> subprocess.Popen[bytes]:
    """`hilbert auth` under way, as somebody with a home of their own."""
    environ = {**platform.environ, "HOME": str(home), "BROWSER": "true", "OPENFAAS_CONFIG": str(home), **more}
    return subprocess.Popen(
        [*platform.command, "-m", "hilbert.cli", "auth", "--gateway", platform.url, "--no-browser", "--port", "0", *args],
        env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen[bytes]) -> int:
    process.communicate(timeout=60)
    return process.returncode


def said(process: subprocess.Popen[bytes], pattern: str) -> str:
    """The first match in what it says, as soon as it says it."""
    assert process.stderr is not None
    seen = ""  # Ends when the process does, which the test's time limit makes sure of.
    for line in process.stderr:
        seen += line.decode()
        if match := re.search(pattern, seen):
            return match[1]
    raise AssertionError(seen)


def functions(platform: Platform, home: Path) -> Any:
    """With the token that was saved, as faas-cli would read it."""
    (entry,) = yaml.safe_load((home / "config.yml").read_text())["auths"]
    assert (entry["auth"], entry["gateway"]) == ("oauth2", platform.url)
    answer = platform.call("/system/functions?namespace=dev", headers={"Authorization": f"Bearer {entry['token']}"})
    assert answer.status == 200, answer.body
    return [one["name"] for one in json.loads(answer.body)]


def sign_in(platform: Platform, provider: IdentityProvider, home: Path, login: str) -> tuple[int, str]:
    """The way through the browser; exit status and what was said last."""
    process = auth(platform, home, "--authority", provider.url, "--client-id", "cli")
    page = Person(login).sign_in(said(process, r"(http://\S+/auth\?\S+)"))
    assert "You are signed in" in page
    _, err = process.communicate(timeout=60)
    return process.returncode, err.decode()


def test_in_a_browser(platform: Platform, provider: IdentityProvider, tmp_path: Path) -> None:
    status, text = sign_in(platform, provider, tmp_path, "alice+developers")
    assert (status, "for 60 minutes" in text) == (0, True), text
    assert functions(platform, tmp_path) == ["figlet"]
    assert (tmp_path / "config.yml").stat().st_mode & 0o777 == 0o600
    options = yaml.safe_load((tmp_path / "config.yml").read_text())["auths"][0]["options"]
    assert {"name": "client_id", "value": "cli"} in options

    environ = {**platform.environ, "HOME": str(tmp_path), "OPENFAAS_CONFIG": str(tmp_path)}
    who = subprocess.run(
        [*platform.command, "-m", "hilbert.cli", "whoami"], env=environ, capture_output=True, text=True, check=True
    )
    assert f"{provider.url}|alice+developers" in who.stdout
    assert "dev:*" in who.stdout


def test_without_the_group_there_is_no_token(platform: Platform, provider: IdentityProvider, tmp_path: Path) -> None:
    status, text = sign_in(platform, provider, tmp_path, "mallory+guests")
    assert status == 1
    assert "No policies found for subject: mallory+guests" in text
    assert not (tmp_path / "config.yml").exists()


def test_a_callback_of_another_sign_in_is_refused(
    platform: Platform, provider: IdentityProvider, tmp_path: Path
) -> None:
    """Login CSRF: a code that the attacker got for itself, brought with a guess at the state."""
    process = auth(platform, tmp_path, "--authority", provider.url, "--client-id", "cli")
    url = said(process, r"(http://\S+/auth\?\S+)")
    assert "code_challenge_method=S256" in url
    asked = parse_qs(urlsplit(url).query)
    (callback,), (state,) = asked["redirect_uri"], asked["state"]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for query in (
        "code=evil",
        "code=evil&state=guess",
        f"code=evil&state={state}&iss=https%3A%2F%2Fevil.example.com",
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            opener.open(f"{callback}?{query}", timeout=30)
        assert caught.value.code == 400
        caught.value.close()
    assert "You are signed in" in Person("alice+developers").sign_in(url)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_on_another_device(platform: Platform, provider: IdentityProvider, tmp_path: Path) -> None:
    process = auth(platform, tmp_path, "--authority", provider.url, "--client-id", "cli", "--grant", "device")
    where = said(process, r"open (\S+)")
    code = said(process, r"code\s+(\S+)")
    Person("bob+developers").approve(where, code)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert functions(platform, tmp_path) == ["figlet"]


def test_with_a_clients_own_secret(platform: Platform, provider: IdentityProvider, tmp_path: Path) -> None:
    args = (
        "--authority",
        provider.url,
        "--client-id",
        "robot",
        "--grant",
        "client_credentials",
        "--audience",
        AUDIENCE,
    )
    process = auth(platform, tmp_path, *args, OPENFAAS_CLIENT_SECRET="robot-secret")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert functions(platform, tmp_path) == ["figlet"]
    assert "robot-secret" not in (tmp_path / "config.yml").read_text()
    wrong = auth(platform, tmp_path, *args, OPENFAAS_CLIENT_SECRET="wrong")
    _, err = wrong.communicate(timeout=60)
    assert (wrong.returncode, b"refused" in err) == (1, True)


def test_the_provider_goes_away(platform: Platform, provider: IdentityProvider, tmp_path: Path) -> None:
    """A token that was got before an outage is exchanged during it, since the keys are known."""
    process = auth(
        platform, tmp_path, "--authority", provider.url, "--client-id", "robot", "--grant", "client_credentials",
        "--audience", AUDIENCE, "--no-exchange", "--print-token", OPENFAAS_CLIENT_SECRET="robot-secret",
    )  # fmt: skip
    token, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert finish(auth(platform, tmp_path, "--token", token.decode().strip())) == 0
    provider.stop()
    try:
        assert finish(auth(platform, tmp_path, "--token", token.decode().strip())) == 0
        lost = auth(platform, tmp_path, "--authority", provider.url, "--client-id", "cli")
        _, err = lost.communicate(timeout=60)
        assert (lost.returncode, b"Traceback" in err) == (1, False)
    finally:
        provider.start()


@pytest.mark.anyio
async def test_the_provider_changes_its_keys(tmp_path: Path) -> None:
    """With a clock that the test turns, since the gateway asks for an unknown key at most once a minute."""
    provider = IdentityProvider(tmp_path / "keys")
    now = 0.0
    keys = IssuerKeys(Fetcher(), now=lambda: now)
    issuer = Issuer(name="idp", iss=provider.url, aud=(AUDIENCE,))
    seen = []
    for _ in range(2):
        token = take_apart(await asyncio.to_thread(robots_token, provider))
        check_signature(token, await keys.find(issuer, token.kid))
        seen.append(token.kid)
        await asyncio.to_thread(provider.rotate)
        now += ASKED_EVERY
    provider.stop()
    assert len(set(seen)) == 2


def robots_token(provider: IdentityProvider) -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": "robot",
        "client_secret": "robot-secret",
        "resource": AUDIENCE,
    }
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{provider.url}/token", urlencode(form).encode(), timeout=30) as answer:
        return str(json.loads(answer.read())["access_token"])


def test_objects_by_the_command_line(platform: Platform, provider: IdentityProvider) -> None:
    text = ACCESS.replace("URL", provider.url).replace("AUDIENCE", AUDIENCE)
    assert platform.hilbert("iam", "diff", "-f", "-", stdin=text.encode()).stdout == b""
    changed = text.replace('"Namespace:List", ', "").encode()
    shown = platform.hilbert("iam", "diff", "-f", "-", stdin=changed, expect=1).stdout
    assert b"Policy dev-rw would be changed" in shown
    assert b"-  - Namespace:List" in shown
    listed = platform.hilbert("iam", "get").stdout.decode()
    assert re.search(r"^Role +developers +policies dev-rw$", listed, re.MULTILINE)
    one = yaml.safe_load(platform.hilbert("iam", "get", "policy", "dev-rw").stdout)
    assert one["spec"]["statement"][0]["resource"] == ["dev:*"]
    broken = platform.hilbert("iam", "apply", "-f", "-", stdin=text.replace("Allow", "Deny").encode(), expect=1).stderr
    assert b"Policy dev-rw: spec.statement[0].effect: must be Allow" in broken
    extra = b"apiVersion: iam.openfaas.com/v1\nkind: Policy\nmetadata: {name: x}\nspec: {statement: [{sid: a, effect: Allow, action: '*', resource: 'x:*'}]}"
    platform.hilbert("iam", "apply", "-f", "-", stdin=extra)
    assert platform.hilbert("iam", "delete", "policy", "x", "--yes").stdout == b"Policy x deleted\n"
    assert b"not found" in platform.hilbert("iam", "delete", "policy", "x", "--yes", expect=1).stderr
    assert platform.hilbert("iam", "rotate-key").stdout.strip()
    assert b"under way" in platform.hilbert("iam", "rotate-key", expect=1).stderr
    assert platform.hilbert("iam", "rotate-key", "--revoke", "--yes").stdout.strip()


def test_the_gateways_token_is_worth_nothing_once_its_key_is_taken_back(
    platform: Platform, provider: IdentityProvider, tmp_path: Path
) -> None:
    args = (
        "--authority",
        provider.url,
        "--client-id",
        "robot",
        "--grant",
        "client_credentials",
        "--audience",
        AUDIENCE,
    )
    process = auth(platform, tmp_path, *args, "--print-token", OPENFAAS_CLIENT_SECRET="robot-secret")
    token, _ = process.communicate(timeout=60)
    mine = {"Authorization": f"Bearer {token.decode().strip()}"}
    assert platform.call("/system/whoami", headers=mine).status == 200
    platform.stop()
    platform.start()
    port_stays = platform.call("/.well-known/jwks.json")
    assert len(json.loads(port_stays.body)["keys"]) == 1
    platform.hilbert("iam", "rotate-key", "--revoke", "--yes")
    assert platform.call("/system/whoami", headers=mine).status == 401
