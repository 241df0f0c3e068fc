"""Names of images are read as Docker reads them."""

from __future__ import annotations

import pytest

from hilbert.core.errors import Invalid, InvalidSettings, InvalidSpec
from hilbert.core.settings import ImageSettings
from hilbert.images.login import MOST_LOGINS, parse_challenge, parse_docker_config, parse_pull_secret
from hilbert.images.model import Credentials, Login
from hilbert.images.reference import LONGEST, Reference, familiar
from hilbert.images.registry_places import Registries

D = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3", "docker.io/library/alpine:3"),
        ("functions/alpine", "docker.io/functions/alpine:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/library/alpine:3", "docker.io/library/alpine:3"),
        ("ghcr.io/openfaas/figlet:latest", "ghcr.io/openfaas/figlet:latest"),
        ("localhost/fn", "localhost/fn:latest"),
        ("localhost:5000/fn:1", "localhost:5000/fn:1"),
        ("127.0.0.1:5000/a/b/c_d/e-f:v1.2_x", "127.0.0.1:5000/a/b/c_d/e-f:v1.2_x"),
        ("[::1]:5000/fn", "[::1]:5000/fn:latest"),
        ("Registry.Example.com/fn", "registry.example.com/fn:latest"),
        (f"fn@{D}", f"docker.io/library/fn@{D}"),
        (f"r.io/fn:tag@{D}", f"r.io/fn@{D}"),
    ],
)
def test_full_names(text: str, full: str) -> None:
    assert Reference.parse(text).full == full
    assert Reference.parse(full).full == full
    assert Reference.parse(familiar(full)).full == full


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ":", "a:", "a::b", "/a", "a//b", "A", "UPPER/case", "a:b:c", "a@sha256:abc", f"a@md5:{'a' * 32}", "a b", "a\n", "-a", "a-",
        "a:" + "x" * 129, "r.io/", "r.io:99999999/a", "http://r.io/a", "../a", "r.io/../a", "a" * 600, "r..io/a", "a?b", "a:\u00e9",
        f"a@{D}@{D}", "user:pw@r.io/a",
    ],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(InvalidSpec):
        Reference.parse(text)


@pytest.mark.bound("image-name")
def test_a_name_may_be_as_long_as_the_bound_and_no_longer() -> None:
    assert Reference.parse("a" * LONGEST).repository.endswith("a" * LONGEST)
    with pytest.raises(InvalidSpec, match=f"may have {LONGEST} characters, not {LONGEST + 1}"):
        Reference.parse("a" * (LONGEST + 1))


@pytest.mark.bound("image-logins")
def test_logins_beyond_the_bound_are_refused_unread() -> None:
    logins = b'{"auths": {"r.io": {"username": "bo", "password": "p"}}}'
    assert parse_pull_secret(logins.ljust(MOST_LOGINS)).logins
    for parse in (parse_pull_secret, parse_docker_config):
        with pytest.raises(Invalid, match=f"more than {MOST_LOGINS} bytes"):
            parse(logins.ljust(MOST_LOGINS + 1))


def test_dockers_file_of_logins() -> None:
    found = parse_docker_config(
        b'{"auths": {"https://index.docker.io/v1/": {"auth": "YW5uOnM6eA=="}, "ghcr.io": {"username": "bo", "password": "p"},'
        b' "r:5": {"auth": "eDo=", "identitytoken": "t"}}, "credsStore": "x", "HttpHeaders": {}}'
    )
    assert found.logins == {
        "docker.io": Login(username="ann", password="s:x"),
        "ghcr.io": Login(username="bo", password="p"),
        "r:5": Login(username="x", identity_token="t"),
    }


def test_a_pull_secret_names_its_registry() -> None:
    assert parse_pull_secret(b" ann:p@ss:word@r.io:5\n") == Credentials(
        logins={"r.io:5": Login(username="ann", password="p@ss:word")}
    )
    assert parse_pull_secret(b'{"auths": {}}') == Credentials()
    for wrong in (b"", b"ann:secret", b"ann@r.io", b"{", b'{"auths": {"r": {"auth": "secret!"}}}', b'["secret"]'):
        with pytest.raises(InvalidSettings.__mro__[1]) as caught:
            parse_pull_secret(wrong)
        assert "secret!" not in str(caught.value)


def test_challenges() -> None:
    found = parse_challenge('Bearer realm="https://a/t?x=\\"1,2\\"",service="s", scope=plain')
    assert found is not None
    assert (found.scheme, found.parameters) == (
        "bearer",
        {"realm": 'https://a/t?x="1,2"', "service": "s", "scope": "plain"},
    )
    assert parse_challenge("Negotiate abc") is None


def test_where_an_image_is_asked_for() -> None:
    settings = ImageSettings(
        mirrors="docker.io=m.io:5/hub, docker.io=n.io", insecure_registries="m.io:5", private_registries="r.io"
    )
    registries = Registries(
        settings, Credentials(logins={"ghcr.io": Login(username="ours"), "n.io": Login(username="n")})
    )
    first, second, last = registries.places(
        Reference.parse("alpine"), Credentials(logins={"n.io": Login(username="theirs")})
    )
    assert (first.host, first.repository, first.insecure, first.listed) == ("m.io:5", "hub/library/alpine", True, True)
    assert (second.host, second.repository, second.login) == ("n.io", "library/alpine", Login(username="n"))
    assert (last.host, last.insecure, last.listed, last.login) == ("docker.io", False, False, None)
    (own,) = registries.places(Reference.parse("ghcr.io/a"), Credentials(logins={"ghcr.io": Login(username="theirs")}))
    assert own.login == Login(username="theirs")
    (own,) = registries.places(Reference.parse("ghcr.io/a"), None)
    assert own.login == Login(username="ours")


@pytest.mark.parametrize(
    "settings",
    [
        {"mirrors": "docker.io"},
        {"mirrors": "=x.io"},
        {"insecure_registries": "http://x.io"},
        {"private_registries": "a.io/b"},
    ],
)
def test_settings_that_are_wrong(settings: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match=next(iter(settings))):
        Registries(ImageSettings(**settings), Credentials())
