"""`config.yml`, shared with OpenFaaS's command line."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from hilbert.cli.frame.failures import Failed
from hilbert.cli.gateway import saved_credentials
from hilbert.client.auth import BasicAuth, TokenAuth

URL = "http://127.0.0.1:8080"


def test_what_is_saved_is_found_again(tmp_path: Path) -> None:
    """For this gateway alone, in a private file in a private folder."""
    path = tmp_path / "new" / "config.yml"
    saved_credentials.save_basic(path, URL, user="admin", password="p:ä ss")
    saved_credentials.save_basic(path, "https://Other.example.com", user="u", password="p")
    assert saved_credentials.load_auth(path, f"{URL}/") == BasicAuth("admin", "p:ä ss")
    assert saved_credentials.load_auth(path, "https://other.example.com") == BasicAuth("u", "p")
    assert saved_credentials.load_auth(path, "http://127.0.0.1:80") is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["config.yml"]


def test_the_file_is_as_openfaas_writes_it(tmp_path: Path) -> None:
    """Down to the keys and the lower-cased URL."""
    path = tmp_path / "config.yml"
    saved_credentials.save_basic(path, "http://HOST:1", user="a", password="b")
    entry = {"gateway": "http://host:1", "auth": "basic", "token": "YTpi", "options": []}
    assert yaml.safe_load(path.read_text()) == {"auths": [entry]}


def test_a_token_of_the_original_is_understood(tmp_path: Path) -> None:
    """`auth: oauth2` is a bearer token."""
    path = tmp_path / "config.yml"
    path.write_text(f"auths:\n- gateway: {URL}\n  auth: oauth2\n  token: abc.def\n")
    assert saved_credentials.load_auth(path, URL) == TokenAuth("abc.def")


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """Other entries and unknown keys survive a login and a logout."""
    path = tmp_path / "config.yml"
    path.write_text(
        "future: 1\nauths:\n- gateway: http://a\n  auth: oauth2\n  token: t\n  options: [{name: x, value: y}]\n"
    )
    saved_credentials.save_basic(path, URL, user="a", password="b")
    assert saved_credentials.forget(path, URL)
    assert not saved_credentials.forget(path, URL)
    kept = {"gateway": "http://a", "auth": "oauth2", "token": "t", "options": [{"name": "x", "value": "y"}]}
    assert yaml.safe_load(path.read_text()) == {"future": 1, "auths": [kept]}


@pytest.mark.parametrize("text", ["", "auths:", "auths: 7", "[]", "auths: [1, {gateway: 3}]"])
def test_an_odd_file_has_no_credentials(tmp_path: Path, text: str) -> None:
    """It is no reason to fail."""
    path = tmp_path / "config.yml"
    path.write_text(text)
    assert saved_credentials.load_auth(path, URL) is None
    assert not saved_credentials.forget(path, URL)


@pytest.mark.parametrize("text", ["auths: [", f"auths: [{{gateway: '{URL}', auth: basic, token: '%%%'}}]"])
def test_a_broken_file_says_which(tmp_path: Path, text: str) -> None:
    """And what to do."""
    path = tmp_path / "config.yml"
    path.write_text(text)
    with pytest.raises(Failed) as caught:
        saved_credentials.load_auth(path, URL)
    assert str(path) in caught.value.message
    assert "hilbert login" in caught.value.hint


def test_where_the_file_is() -> None:
    """`OPENFAAS_CONFIG` is the folder; continuous integration has one of its own."""
    home = {"HOME": "/home/me"}
    assert saved_credentials.config_file(home) == Path("/home/me/.openfaas/config.yml")
    assert saved_credentials.config_file({**home, "CI": "true"}) == Path(".openfaas/config.yml")
    assert saved_credentials.config_file({**home, "CI": "1", "OPENFAAS_CONFIG": "/x"}) == Path("/x/config.yml")
