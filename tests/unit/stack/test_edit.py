"""Adding a function to a stack file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.core.errors import InvalidStack
from hilbert.stack.edit import append_function, new_stack
from hilbert.stack.file import StackFunction, parse_stack

NEW = StackFunction(lang="bash", handler="./b", image="b:latest")

FILES = {
    "empty": "",
    "comment": "# nothing yet\n",
    "empty map": "functions: {}\n",
    "null": "provider:\n  name: openfaas\nfunctions:\n",
    "one": "functions:\n  a:\n    image: a\n",
    "four spaces": "functions:\n    a:\n        image: a\n",
    "others behind": "functions:\n  a:\n    image: a # note\n\n# about the configuration\nconfiguration:\n  copy: [x]\n",
    "no functions": "version: 1.0\nprovider:\n  name: openfaas\n\n\n",
    "no newline at the end": "functions:\n  a: {image: a}",
    "substitution": "functions:\n  a:\n    image: ${REG:-x}/a\n    # the end\n",
    "document start": "---\nfunctions:\n  a: {}\n",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES.keys())
def test_every_other_line_stays(text: str) -> None:
    """Comments, order and spelling are the author's."""
    written = append_function(text, "b", NEW, source="s")
    stack = parse_stack(written)
    assert stack.functions["b"] == NEW
    assert {k: v for k, v in stack.functions.items() if k != "b"} == parse_stack(text).functions
    assert stack.configuration == parse_stack(text).configuration
    lines = written.splitlines()
    for line in text.splitlines():
        if line.strip() and not line.startswith("functions:"):
            assert line in lines


def test_the_comment_of_the_next_key_stays_with_it() -> None:
    """The new function goes before it."""
    lines = append_function(FILES["others behind"], "b", NEW, source="s").splitlines()
    assert lines.index("  b:") < lines.index("# about the configuration") == lines.index("configuration:") - 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("functions:\n  b: {}\n", "has a function b already"),
        ("functions: {a: {}}\n", "no function can be added"),
        ("functions: [\n", "not YAML"),
        ("{functions: {a: {}}}\n", "no function can be added"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    """What cannot be done without rewriting the file is refused."""
    with pytest.raises(InvalidStack, match=message):
        append_function(text, "b", NEW, source="s")


def test_a_new_file() -> None:
    """It reads back as what was meant."""
    stack = parse_stack(new_stack("b", NEW, gateway="http://127.0.0.1:8080"))
    assert stack.functions == {"b": NEW}
    assert stack.provider.gateway == "http://127.0.0.1:8080"


@given(st.lists(st.sampled_from(["a", "c", "d", "e"]), unique=True))
def test_many_in_a_row(names: list[str]) -> None:
    """Each addition keeps those before."""
    text = ""
    for name in names:
        text = append_function(text, name, NEW, source="s")
    assert list(parse_stack(text).functions) == names
