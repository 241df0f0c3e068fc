"""`template.yml`."""

from __future__ import annotations

import pytest

from hilbert.core.errors import InvalidStack
from hilbert.stack.template import BuildOption, is_inside, parse_template

FULL = """\
language: python3-http
fprocess: python index.py
welcome_message: |
  Hello
handler_folder: src/function
mount_ssh: true
build_options:
  - name: dev
    packages: [make, gcc]
unknown_to_us: 1
bundle:
  mode: http
  process: python3 index.py
  environment: {upstream_url: "unix:s"}
  requirements: [requirements.txt]
  packages: function/package.json
"""


def test_every_field() -> None:
    """OpenFaaS's fields and ours; what others add is passed over."""
    template = parse_template(FULL, name="template.yml")
    assert template.language == "python3-http"
    assert template.fprocess == "python index.py"
    assert template.welcome_message == "Hello\n"
    assert template.handler_folder == "src/function"
    assert template.mount_ssh
    assert template.build_options == (BuildOption(name="dev", packages=("make", "gcc")),)
    assert template.bundle is not None
    assert template.bundle.environment == {"upstream_url": "unix:s"}


def test_handler_folder_by_default() -> None:
    """As in OpenFaaS."""
    assert parse_template("language: x", name="t").handler_folder == "function"
    assert parse_template("", name="t").handler_folder == "function"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("handler_folder: ../x", "must be a folder inside the template"),
        ("handler_folder: /etc", "must be a folder inside the template"),
        ("bundle: {mode: magic}", "bundle.mode: must be one of python, http"),
        ("bundle: {mode: python, handler: ../../x.py}", "must be a path inside the template"),
        ("bundle: {mode: http, requirements: [/etc/passwd]}", "must be a path inside the template"),
        ("build_options: x", "build_options: must be a list"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    """A template is somebody else's file: it may not point out of itself."""
    with pytest.raises(InvalidStack) as caught:
        parse_template(text, name="t/template.yml")
    assert message in caught.value.message
    assert caught.value.message.startswith("t/template.yml")


def test_is_inside() -> None:
    """As written, without looking at the disk."""
    assert is_inside("a/b")
    assert is_inside("./a")
    assert not any(is_inside(path) for path in ("", "..", "a/../b", "/a", "a\0b"))
