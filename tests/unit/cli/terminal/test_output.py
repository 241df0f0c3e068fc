"""What reaches a terminal."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.cli.terminal import output as terminal
from hilbert.cli.terminal import progress


@given(st.text())
def test_harmless_text_has_nothing_that_drives_a_terminal(text: str) -> None:
    """No control characters but tab and newline, nothing that reorders the line."""
    shown = terminal.harmless(text)
    assert not any((ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 for c in shown)
    assert not set(shown) & set("\u200e\u202a\u202e\u2066\u2069\ufeff\u2028")


@given(st.dictionaries(st.text(), st.text()))
def test_harmless_json_is_the_same_json(document: dict[str, str]) -> None:
    """It is shown by JSON's own escapes."""
    assert json.loads(terminal.harmless(json.dumps(document, ensure_ascii=False))) == document


def test_plain_text_stays() -> None:
    """Also outside ASCII."""
    text = "Grüße 你好 🙂\tx\n"
    assert terminal.harmless(text) == text


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "painted"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], painted: bool) -> None:
    """Only where they are wanted."""
    monkeypatch.setattr(terminal, "environment", lambda: environ)
    assert (terminal.paint("x", "31", _Terminal()) != "x") is painted
    assert terminal.paint("x", "31", io.StringIO()) == "x"


def test_progress_is_invisible_when_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    """Piped output has nothing that moves."""
    line = progress.Progress("waiting", after=0)
    line.start()
    line.say("data")
    line.stop()
    assert capsys.readouterr() == ("data\n", "")


def test_progress_appears_after_a_while_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it shows is harmless."""
    import threading

    drawn = threading.Event()

    class Screen(_Terminal):
        def write(self, text: str) -> int:
            if "evil" in text:
                drawn.set()
            return super().write(text)

    screen = Screen()
    monkeypatch.setattr(terminal.sys, "stderr", screen)
    monkeypatch.setattr(progress, "environment", dict)
    line = progress.Progress("evil\x1b[2J", after=0)
    line.start()
    assert drawn.wait(10)
    line.stop()
    text = screen.getvalue()
    assert "\\u001b[2J" in text
    assert text.endswith("\r\x1b[K")


def test_columns() -> None:
    """As wide as their widest cell, the last one not padded."""
    assert list(terminal.columns([("A", "B"), ("long", "x")])) == ["A     B", "long  x"]
    assert list(terminal.columns([])) == []


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the message holds."""
    terminal.fail("a\nb\x1b[1m", "c")
    assert capsys.readouterr().err == "error: a b\\u001b[1m\nhint: c\n"
