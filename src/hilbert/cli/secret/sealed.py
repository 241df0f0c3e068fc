"""`secret keygen`, `seal` and `unseal`: secrets that only the holder of a private key can read.

The format is that of OpenFaaS's builder: YAML with `algorithm: nacl/box`, each value encrypted on its own for the public
key (Curve25519, XSalsa20, Poly1305; a nonce of 24 bytes before the box), from a key that is thrown away.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import flag
from hilbert.cli.frame.parsing import pairs
from hilbert.cli.secret.commands import write_private
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import note, out

_ALGORITHM: Final = "nacl/box"
_FILE: Final = "com.openfaas.secrets"


def keygen(
    *,
    output: Annotated[
        str, flag("File for the private key; the public key goes to the same name with .pub.", "--output", "-o")
    ] = "key",
) -> None:
    key = _nacl().PrivateKey.generate()
    private, public = (base64.b64encode(bytes(part)).decode() for part in (key, key.public_key))
    write_private(Path(output), f"{private}\n".encode())
    write_private(Path(f"{output}.pub"), f"{public}\n".encode())
    out(f"Wrote private key: {output}")
    out(f"Wrote public key:  {output}.pub")
    out(f"Key ID: {_key_id(public)}")


def seal(
    public_key: Annotated[str, flag("File with the public key.")],
    /,
    *,
    from_literal: Annotated[
        tuple[str, ...], flag("Value KEY=VALUE; other users can see it. Repeatable.", "--from-literal")
    ] = (),
    from_file: Annotated[tuple[str, ...], flag("Value from a file, as NAME=PATH; repeatable.", "--from-file")] = (),
    output: Annotated[str, flag("File to write; - for standard output.", "--output", "-o")] = _FILE,
) -> None:
    values = {name: value.encode() for name, value in pairs(from_literal, "--from-literal").items()}
    values |= {name: _read(path) for name, path in pairs(from_file, "--from-file").items()}
    if not values:
        raise UsageError("nothing to seal", hint="use --from-file NAME=PATH")
    sealed = seal_values(values, _read(public_key).decode("ascii", "replace").strip(), where=public_key)
    if output == "-":
        sys.stdout.write(sealed.decode())
        return
    try:
        Path(output).write_bytes(sealed)
    except OSError as exc:
        raise Failed(f"cannot write {output}: {exc.strerror}") from exc
    note(f"Wrote {output}")


def seal_values(values: Mapping[str, bytes], public_key: str, *, where: str) -> bytes:
    """Sealed YAML for the holder of the private key. Raises `Failed` when `public_key`, found `where`, is none."""
    nacl = _nacl()
    sender = nacl.PrivateKey.generate()
    box = nacl.Box(sender, nacl.PublicKey(_key(public_key, where)))
    document = {
        "version": "v1",
        "algorithm": _ALGORITHM,
        "key_id": _key_id(public_key),
        "public_key": base64.b64encode(bytes(sender.public_key)).decode(),
        "secrets": {name: base64.b64encode(bytes(box.encrypt(value))).decode() for name, value in values.items()},
    }
    import yaml

    return yaml.safe_dump(document, sort_keys=False).encode()


def unseal(
    private_key: Annotated[str, flag("File with the private key.")],
    /,
    *,
    source: Annotated[str, flag("Sealed file.", "--in")] = _FILE,
    key: Annotated[str, flag("Print only this value, unchanged.", "--key")] = "",
    json: Annotated[bool, flag("Output JSON.", "--json", "-j")] = False,
) -> None:
    nacl = _nacl()
    document = _document(source)
    private = nacl.PrivateKey(_key(_read(private_key).decode("ascii", "replace").strip(), private_key))
    box = nacl.Box(private, nacl.PublicKey(_key(str(document.get("public_key") or ""), source)))
    values: dict[str, bytes] = {}
    for name, sealed in document["secrets"].items():
        try:
            values[str(name)] = bytes(box.decrypt(base64.b64decode(str(sealed), validate=True)))
        except (_nacl("nacl.exceptions").CryptoError, ValueError) as exc:
            raise Failed(f"cannot unseal {name} with {private_key}", hint="was it sealed for this key?") from exc
    if key:
        if key not in values:
            raise Failed(f"no value {key} in {source}", hint=f"its values are {', '.join(values)}")
        sys.stdout.buffer.write(values[key])
        return
    texts = {name: value.decode("utf-8", "replace") for name, value in values.items()}
    if json:
        write_document(texts, "json")
        return
    for name, text in texts.items():
        out(f"{name}={text}")


def _nacl(module: str = "nacl.public") -> Any:
    """A module of PyNaCl. Raises `Failed` when it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise Failed(
            "sealed secrets need PyNaCl, which is not installed",
            hint="install Hilbert with its extra: pip install '.[seal]' in a clone of its repository",
        ) from exc


def _key_id(public: str) -> str:
    return public[:8]


def _key(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise Failed(f"{where} is not a key: expected 32 bytes in base64")
    return key


def _document(source: str) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(_read(source))
    except yaml.YAMLError as exc:
        raise Failed(f"{source} is not valid YAML") from exc
    if not isinstance(document, dict) or document.get("algorithm") != _ALGORITHM or not document.get("secrets"):
        raise Failed(f"{source} is not a file of sealed secrets")
    if not isinstance(document["secrets"], dict):
        raise Failed(f"{source}: secrets is not a map")
    return document


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise Failed(f"cannot read {path}: {exc.strerror}") from exc
