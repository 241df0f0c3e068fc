"""Tokens as a team meets them: made, used by the command line and by plain clients, revoked, and kept over a restart."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator

import pytest

from support.platform import Platform, until


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    made = Platform().start()
    for namespace in ("dev", "prod"):
        made.hilbert("namespace", "create", namespace)
    yield made
    made.close()


def test_a_teams_token_from_its_making_to_its_end(platform: Platform) -> None:
    made = platform.hilbert("token", "create", "ci", "-n", "dev", "--role", "deployer", "--expires", "90d")
    token = made.stdout.decode().strip()
    assert token.startswith("hilbert_")
    assert token.encode() not in made.stderr
    mine = ("--token", token)
    platform.hilbert("store", "deploy", "figlet", "-n", "dev", *mine)
    refused = platform.hilbert("store", "deploy", "figlet", "-n", "prod", *mine, expect=1)
    assert b"namespace not valid" in refused.stderr or b"not found" in refused.stderr
    assert (
        b"Secret:Create" in platform.hilbert("secret", "create", "s", "-n", "dev", *mine, stdin=b"v", expect=1).stderr
    )
    assert platform.hilbert("namespaces", *mine).stdout == b"Namespaces:\n - dev\n"

    assert b"ci (token:" in platform.hilbert("whoami", *mine).stdout
    assert platform.hilbert("can-i", "Function:Create", "dev", *mine).stdout == b"yes\n"
    assert platform.hilbert("can-i", "Function:Create", "prod", *mine, expect=1).stdout == b"no\n"
    assert platform.hilbert("can-i", "System:Info").stdout == b"yes\n"

    basic = b64encode(f"ci:{token}".encode()).decode()
    answer = platform.call("/system/functions?namespace=dev", headers={"Authorization": f"Basic {basic}"})
    assert [function["name"] for function in json.loads(answer.body)] == ["figlet"]

    (listed,) = json.loads(platform.hilbert("token", "list", "--json").stdout)
    assert (listed["name"], listed["role"], listed["namespaces"]) == ("ci", "deployer", ["dev"])
    assert b"ci" in platform.hilbert("token", "list").stdout

    platform.stop()
    platform.start()
    assert platform.hilbert("can-i", "Function:Get", "dev", *mine).stdout == b"yes\n"
    platform.hilbert("token", "revoke", "ci", "--yes")
    assert b"unauthorized access" in platform.hilbert("whoami", *mine, expect=1).stderr
    assert platform.call("/system/whoami", headers={"Authorization": f"Bearer {token}"}).status == 401
    assert b"no token is named ci" in platform.hilbert("token", "revoke", "ci", "--yes", expect=1).stderr


def test_names_that_are_not_unique_and_flags_that_are_missing(platform: Platform) -> None:
    for _ in range(2):
        platform.hilbert("token", "create", "twin", "-n", "dev")
    refused = platform.hilbert("token", "revoke", "twin", "--yes", expect=1)
    assert b"2 tokens are named twin" in refused.stderr
    for token in json.loads(platform.hilbert("token", "list", "--json").stdout):
        platform.hilbert("token", "revoke", token["id"], "--yes")
    assert b"at least one --namespace" in platform.hilbert("token", "create", "x", expect=2).stderr
    assert b"invoker" in platform.hilbert("token", "create", "x", "-n", "dev", "--role", "king", expect=2).stderr


def status_with(platform: Platform, user: str, password: str) -> int:
    basic = b64encode(f"{user}:{password}".encode()).decode()
    return platform.call("/system/whoami", headers={"Authorization": f"Basic {basic}"}).status


def test_the_password_rotated_switched_off_and_on_again(platform: Platform) -> None:
    old = platform.password
    new = platform.hilbert("password", "rotate").stdout.decode().strip()
    until(lambda: status_with(platform, "admin", new) == 200, what="the new password to be accepted")
    assert status_with(platform, "admin", old) in (401, 429)

    # Asking for it has slowed down guesses from here, for a moment.
    until(
        lambda: b"no token of an owner" in platform.hilbert("password", "off", "--yes", expect=None).stderr,
        what="the command to be refused for the right reason",
    )
    token = platform.hilbert("token", "create", "boss", "-n", "dev", "--role", "owner").stdout.decode().strip()
    assert b"password is in use" in platform.hilbert("doctor").stdout
    platform.hilbert("password", "off", "--yes")
    until(lambda: status_with(platform, "admin", new) == 401, what="the password to be refused")
    # The refused password was a guess, and guesses slow down everybody at this address for a moment.
    until(lambda: status_with(platform, "boss", token) == 200, what="the token to be accepted after the guess")
    until(
        lambda: b"rejected the credentials" in platform.hilbert("doctor", expect=1).stdout,
        what="the doctor to be refused for the right reason",
    )

    platform.hilbert("password", "on")
    until(lambda: platform.call("/system/whoami", headers={"Authorization": f"Bearer {token}"}).status == 200
          and status_with(platform, "admin", new) == 200, what="the password to be accepted again")  # fmt: skip
    assert b"1 token will never expire" in platform.hilbert("doctor").stdout
    platform.hilbert("token", "revoke", "boss", "--yes")
