"""From words to arguments: every way to write a flag, and every mistake."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest

from hilbert.cli.frame.arguments import bind
from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import FlagGroup, flag
from hilbert.cli.frame.signature import read_signature


class Place(FlagGroup, frozen=True, kw_only=True):
    gateway: Annotated[str, flag("", "--gateway", "-g")] = "here"
    verify: Annotated[bool, flag("", "--verify", negative=True)] = True


HERE = Place()


def command(
    name: Annotated[str, flag("")] = "nobody",
    count: int = 1,
    /,
    *rest: str,
    sort: Annotated[Literal["up", "down"] | None, flag("", "--sort")] = None,
    trim: Annotated[bool | None, flag("", "--trim", "-t", negative=True)] = None,
    env: Annotated[tuple[str, ...], flag("", "--env", "-e")] = (),
    tail_lines: int = 0,
    at: Place = HERE,
) -> None: ...


@pytest.mark.parametrize(
    ("words", "positional", "said"),
    [
        ([], ["nobody", 1], {}),
        (["a"], ["a", 1], {}),
        (["a", "3", "b", "c"], ["a", 3, "b", "c"], {}),
        (["a", "-1"], ["a", -1], {}),
        (["--", "-a", "2", "--env"], ["-a", 2, "--env"], {}),
        (["-"], ["-", 1], {}),
        (["--tail-lines", "-5"], ["nobody", 1], {"tail_lines": -5}),
        (["--sort=up", "--sort", "down"], ["nobody", 1], {"sort": "down"}),
        (["--trim"], ["nobody", 1], {"trim": True}),
        (["--no-trim"], ["nobody", 1], {"trim": False}),
        (["-t=false"], ["nobody", 1], {"trim": False}),
        (["--env", "A=1", "-eB=2", "-e", "-", "--env="], ["nobody", 1], {"env": ("A=1", "B=2", "-", "")}),
        (["-te", "A=1"], ["nobody", 1], {"trim": True, "env": ("A=1",)}),
        (["-g=x=y", "a", "--no-verify"], ["a", 1], {"at": Place(gateway="x=y", verify=False)}),
    ],
)
def test_words_become_arguments(words: list[str], positional: list[object], said: dict[str, Any]) -> None:
    everything: dict[str, Any] = {"sort": None, "trim": None, "env": (), "tail_lines": 0, "at": Place()}
    assert bind(command, words) == (positional, {**everything, **said})


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--sort"], "--sort needs a value", "--sort=VALUE"),
        (["--sort", "--trim"], "--sort needs a value", "--sort=VALUE"),
        (["-g"], "-g needs a value", "-g=VALUE"),
        (["--sort", "left"], "--sort left: must be one of up, down", ""),
        (["--trim=maybe"], "--trim: (maybe) is neither true nor false", ""),
        (["--tail-lines", "1.5"], "--tail-lines: (1.5) is not a whole number", ""),
        (["a", "many"], "COUNT: (many) is not a whole number", ""),
        (["--gatewai", "x"], "unknown option: --gatewai", "did you mean --gateway?"),
        (["-tz"], "unknown option: -z", ""),
        (["--no-env"], "unknown option: --no-env", ""),
    ],
)
def test_mistakes(words: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        bind(command, words)
    assert (caught.value.message, hint in caught.value.hint) == (message, True)


def test_what_has_to_be_given() -> None:
    def needy(who: str, /, *, why: Annotated[str, flag("", "--why")]) -> None: ...

    with pytest.raises(UsageError, match="WHO is missing"):
        bind(needy, ["--why", "x"])
    with pytest.raises(UsageError, match="--why is missing"):
        bind(needy, ["me"])
    with pytest.raises(UsageError, match="unexpected arguments: you them"):
        bind(needy, ["me", "you", "them", "--why", "x"])
    assert bind(needy, ["me", "--why", ""]) == (["me"], {"why": ""})


def test_types_that_no_flag_can_have_are_found_when_the_command_is_read() -> None:
    def odd(*, at: Annotated[float, flag("", "--at")] = 1.0) -> None: ...

    with pytest.raises(TypeError, match="float"):
        read_signature(odd)
