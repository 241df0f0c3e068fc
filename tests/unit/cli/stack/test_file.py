"""Stack files, as commands meet them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import StackFile
from hilbert.cli.stack.file import _NAMES, deployments_of, functions_of, gateway_of, load_stack_file
from hilbert.core.errors import InvalidStack
from hilbert.stack.file import DEFAULT_FILES

WHOLE = """\
provider: {name: openfaas, gateway: "http://example.com:8080"}
functions:
  f:
    lang: python3
    image: example/f:1.10
    namespace: dev
    environment: {A: "1", B: file-loses, N: NO}
    environment_file: [env.yaml]
    secrets: [s]
    constraints: [a=b]
    labels: {l: 1}
    annotations: {x: y}
    limits: {memory: 64Mi, cpu: 100m}
    requests: {cpu: 50m}
    readonly_root_filesystem: true
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_default_names_are_the_parser_s() -> None:
    """They are written twice for the sake of speed."""
    assert _NAMES == DEFAULT_FILES


def test_every_field_reaches_the_deployment(folder: Path) -> None:
    """With the environment files over the environment, and the template's command."""
    (folder / "stack.yml").write_text(WHOLE)
    (folder / "env.yaml").write_text("environment: {B: two, C: 3}\n")
    (folder / "template" / "python3").mkdir(parents=True)
    (folder / "template" / "python3" / "template.yml").write_text("language: python3\nfprocess: python3 index.py\n")
    (deployment,) = deployments_of(load_stack_file(StackFile()), namespace="")
    assert json.loads(msgspec.json.encode(deployment)) == {
        "service": "f",
        "image": "example/f:1.10",
        "namespace": "dev",
        "envProcess": "python3 index.py",
        "envVars": {"A": "1", "B": "two", "N": "NO", "C": "3"},
        "constraints": ["a=b"],
        "secrets": ["s"],
        "labels": {"l": "1"},
        "annotations": {"x": "y"},
        "limits": {"memory": "64Mi", "cpu": "100m"},
        "requests": {"cpu": "50m"},
        "readOnlyRootFilesystem": True,
    }
    assert deployment.limits is not None
    assert (deployment.limits.memory, deployment.limits.cpu) == ("64Mi", "100m")


def test_flags_win_over_the_file(folder: Path) -> None:
    """The namespace, and not reading the template."""
    (folder / "stack.yaml").write_text(WHOLE.replace("environment_file: [env.yaml]", ""))
    stack = load_stack_file(StackFile())
    (deployment,) = deployments_of(stack, namespace="staging-fn", read_template=False)
    assert (deployment.namespace, deployment.env_process) == ("staging-fn", "")
    assert functions_of(StackFile(), "x") == ([("f", "x")], "http://example.com:8080")


def test_the_gateway_of_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken file counts only when it was asked for."""
    assert gateway_of(StackFile()) == ""
    (folder / "stack.yaml").write_text(WHOLE)
    assert gateway_of(StackFile()) == "http://example.com:8080"
    (folder / "stack.yaml").write_text("functions: [")
    assert gateway_of(StackFile()) == ""
    assert "ignoring stack.yaml in this folder" in capsys.readouterr().err
    with pytest.raises(InvalidStack):
        gateway_of(StackFile(yaml="stack.yaml"))


def test_a_function_without_an_image(folder: Path) -> None:
    """Names the function."""
    (folder / "stack.yaml").write_text("functions: {f: {lang: x}}\n")
    with pytest.raises(Failed, match="function f has no image"):
        deployments_of(load_stack_file(StackFile()), namespace="")


def test_no_file_at_all(folder: Path) -> None:
    """Says what to do."""
    with pytest.raises(UsageError, match=r"no stack\.yaml") as caught:
        load_stack_file(StackFile())
    assert "-f" in caught.value.hint
