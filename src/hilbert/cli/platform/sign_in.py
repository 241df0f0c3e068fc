"""What `doctor` finds of the ways into the gateway: the password, tokens, and identity providers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from hilbert.cli.platform.finding import Finding, Level
from hilbert.cli.terminal.wording import count

_PASSWORD: Final = {
    "none": (
        Level.WARNING,
        "the gateway asks for no password: whoever reaches it is the administrator",
        "set gateway.basic_auth to true and restart the platform",
    ),
    "on": (
        Level.WARNING,
        "the administrator's password is in use: one key opens everything, and nothing says who used it",
        "give everybody a token or single sign-on, then run: hilbert password off",
    ),
    "off": (Level.OK, "the administrator's password is off", ""),
}


def sign_in_findings(facts: Mapping[str, str]) -> Iterator[Finding]:
    """From what `/system/info` says of it."""
    if (state := facts.get("sign-in.password")) in _PASSWORD:
        level, what, todo = _PASSWORD[state]
        yield Finding(level, what, todo)
    endless = facts.get("sign-in.endless-tokens", "0")
    if endless != "0":
        yield Finding(
            Level.WARNING,
            f"{count(int(endless), 'token')} will never expire",
            "see them with 'hilbert token list'; make new ones with --expires 90d and revoke these",
        )
    if "sign-in.public-url" in facts:
        yield Finding(
            Level.WARNING,
            "tokens of single sign-on name the address that the gateway listens on as their issuer",
            "set iam.public_url to the URL by which clients know the gateway, and restart the platform",
        )
    for key, why in sorted(facts.items()):
        if key.startswith("sign-in.role."):
            name = key.removeprefix("sign-in.role.")
            todo = "add a condition on whose it is, such as jwt:repository_owner_id; see the guide on CI"
            yield Finding(Level.WARNING, f"the role {name} is open: {why}", todo)
        elif key.startswith("sign-in.issuer."):
            name = key.removeprefix("sign-in.issuer.")
            todo = "check its URL, its certificate, and that this machine reaches it"
            yield Finding(Level.WARNING, f"the keys of the issuer {name} cannot be fetched: {why}", todo)
