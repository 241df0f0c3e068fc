"""`${...}` as drone/envsubst reads it."""

from __future__ import annotations

import pytest

from hilbert.core.errors import InvalidStack
from hilbert.stack.envsubst import substitute

ENVIRON = {
    "NAME": "hello",
    "EMPTY": "",
    "MIXED": "abcDEF",
    "PATH_": "a/b/c.tar.gz",
    "REPEATED": "abcXabc",
    "OTHER": "NAME",
}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain $NAME text", "plain $NAME text"),
        ("${NAME}", "hello"),
        ("${UNSET}", ""),
        ("${UNSET:-d} ${EMPTY:-d} ${NAME:-d}", "d d hello"),
        ("${UNSET:=d} ${UNSET-d} ${UNSET=d} ${EMPTY-d}", "d d d d"),
        ("${UNSET:-}", ""),
        ("${UNSET:-${NAME}-${EMPTY:-x}}", "hello-x"),
        ("${UNSET:-http://host:80/a}", "http://host:80/a"),
        ("${#NAME} ${#UNSET}", "5 0"),
        ("${NAME^} ${NAME^^} ${MIXED,} ${MIXED,,}", "Hello HELLO abcDEF abcdef"),
        ("${NAME:1} ${NAME:1:3} ${NAME: -2} ${NAME:9} ${NAME:0:99}", "ello ell lo  hello"),
        ("${PATH_#*/} ${PATH_##*/}", "b/c.tar.gz c.tar.gz"),
        ("${PATH_%.*} ${PATH_%%.*}", "a/b/c.tar a/b/c"),
        ("${PATH_#zzz}", "a/b/c.tar.gz"),
        ("${PATH_#[^b]/}", "b/c.tar.gz"),
        ("${REPEATED/abc/-} ${REPEATED//abc/-}", "-Xabc -X-"),
        ("${REPEATED/#abc/-} ${REPEATED/%abc/-} ${REPEATED/#X/-}", "-Xabc abcX- abcXabc"),
        ("${REPEATED/X/}", "abcabc"),
        ("${PATH_/\\//-} ${PATH_//\\//-}", "a-b/c.tar.gz a-b-c.tar.gz"),
        ("$${NAME} $$NAME a$$b", "${NAME} $NAME a$b"),
        ("$$${NAME}", "$hello"),
        ("a\\\\b \\/ \\n", "a\\b / \\n"),
        ("${NAME}${NAME}", "hellohello"),
        ("", ""),
        ("$", "$"),
    ],
)
def test_forms(text: str, wanted: str) -> None:
    """Every form that the original knows gives what the original gives."""
    assert substitute(text, ENVIRON) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb: ${NAME", "stack.yaml:2: bad substitution ${NAME"),
        ("${", "stack.yaml:1: ${ without the name"),
        ("${}", "stack.yaml:1: ${ without the name"),
        ("${NAME:-x", "a ${ is not closed"),
        ("${NAME:?x}", "${...:?...} is not supported"),
        ("${NAME:+x}", "${...:+...} is not supported"),
        ("${NAME:x}", "must be whole numbers"),
        ("${NAME!}", "bad substitution"),
        ("${NAME/x}", "a ${ is not closed"),
        ("${A:-" * 40 + "}" * 40, "more than 16 times"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    """What cannot be read is refused with its line, never guessed."""
    with pytest.raises(InvalidStack) as caught:
        substitute(text, ENVIRON)
    assert message in caught.value.message


def test_growth_is_bounded() -> None:
    """A file of references to one large variable does not fill the memory."""
    with pytest.raises(InvalidStack, match="too large after substitution"):
        substitute("${BIG}" * 1000, {"BIG": "x" * 100_000})
