"""Sealed secrets. They need PyNaCl, which is an extra."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import yaml

from hilbert.cli.frame import run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_pynacl_it_says_what_to_install(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In two lines."""
    monkeypatch.setitem(__import__("sys").modules, "nacl.public", None)
    assert run.run(["secret", "keygen"]) == 1
    assert capsys.readouterr().err == (
        "error: sealed secrets need PyNaCl, which is not installed\nhint: install Hilbert with its extra: pip install '.[seal]' in a clone of its repository\n"
    )


def test_what_is_sealed_can_be_unsealed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Byte for byte, and only with the private key."""
    public = pytest.importorskip("nacl.public", reason="PyNaCl is not installed")
    assert run.run(["secret", "keygen"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["Wrote private key: key", "Wrote public key:  key.pub"]
    assert said[2] == f"Key ID: {(folder / 'key.pub').read_text()[:8]}"
    assert (folder / "key").stat().st_mode & 0o077 == 0
    assert run.run(["secret", "keygen"]) == 1  # Never over a key that is there.

    value = bytes(range(256))
    (folder / "value").write_bytes(value)
    assert run.run(["secret", "seal", "key.pub", "--from-file", "npm=value", "--from-literal", "a=b=c"]) == 0
    document = yaml.safe_load((folder / "com.openfaas.secrets").read_text())
    assert (document["version"], document["algorithm"], set(document["secrets"])) == ("v1", "nacl/box", {"npm", "a"})
    assert document["key_id"] == (folder / "key.pub").read_text()[:8]

    # As another implementation reads it: a nonce of 24 bytes, then the box.
    private = public.PrivateKey(base64.b64decode((folder / "key").read_text()))
    sealed = base64.b64decode(document["secrets"]["npm"])
    box = public.Box(private, public.PublicKey(base64.b64decode(document["public_key"])))
    assert box.decrypt(sealed[24:], sealed[:24]) == value

    capsys.readouterr()
    assert run.run(["secret", "unseal", "key", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["a"] == "b=c"
    assert run.run(["secret", "keygen", "-o", "other"]) == 0
    assert run.run(["secret", "unseal", "other"]) == 1
    assert run.run(["secret", "unseal", "key", "--key", "none"]) == 1


@pytest.mark.parametrize(
    "text", ["", "[]", "a: [", "algorithm: other\nsecrets: {a: b}", "algorithm: nacl/box\nsecrets: 1"]
)
def test_files_that_are_not_sealed(folder: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """A sentence each."""
    pytest.importorskip("nacl.public", reason="PyNaCl is not installed")
    (folder / "sealed").write_text(text)
    (folder / "key").write_text(base64.b64encode(bytes(32)).decode())
    assert run.run(["secret", "unseal", "key", "--in", "sealed"]) == 1
    assert "sealed" in capsys.readouterr().err
