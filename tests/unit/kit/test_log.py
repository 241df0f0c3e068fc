"""Structured logs: form, level, and what is never written."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from hilbert.kit import log


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_json_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="info", form="json")
    structlog.get_logger("hilbert.test").info("replica ready", function="a.b", took=1.5)
    structlog.get_logger("hilbert.test").debug("not shown")
    logging.getLogger("other.library").warning("shown %s", "too")
    first, second = lines(capsys)
    assert first["event"] == "replica ready"
    assert (first["function"], first["took"], first["level"], first["logger"]) == ("a.b", 1.5, "info", "hilbert.test")
    assert str(first["timestamp"]).endswith("Z")
    assert (second["event"], second["logger"]) == ("shown too", "other.library")


def test_an_exception_is_written_whole(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(form="json")
    try:
        raise RuntimeError("the reason")
    except RuntimeError:
        structlog.get_logger("hilbert.test").error("task failed", exc_info=True)
    (line,) = lines(capsys)
    assert "RuntimeError: the reason" in str(line["exception"])


@pytest.mark.parametrize(
    "name", ["token", "auth", "api_key", "secret_value", "PASSWORD", "cookie", "Authorization", "credentials"]
)
def test_fields_that_sound_like_secrets_are_hidden(capsys: pytest.CaptureFixture[str], name: str) -> None:
    log.configure(form="json")
    structlog.get_logger("hilbert.test").info("login", **{name: "hunter2"}, key="a.b")
    (line,) = lines(capsys)
    assert line[name] == "[redacted]"
    assert line["key"] == "a.b"


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_variables(capsys: pytest.CaptureFixture[str], form: Literal["console", "json"]) -> None:
    log.configure(form=form)
    password = "hunter2"
    try:
        raise RuntimeError(f"failed with {len(password)} characters")
    except RuntimeError:
        structlog.get_logger("hilbert.test").error("task failed", exc_info=True)
    shown = capsys.readouterr().err
    assert "failed with 7 characters" in shown
    assert "hunter2" not in shown


def test_bound_context_is_on_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(form="json")
    with structlog.contextvars.bound_contextvars(call_id="abc"):
        structlog.get_logger("hilbert.test").info("inside")
    structlog.get_logger("hilbert.test").info("outside")
    inside, outside = lines(capsys)
    assert inside["call_id"] == "abc"
    assert "call_id" not in outside


def test_the_console_form_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(form="console")
    structlog.get_logger("hilbert.test").info("replica ready", function="a.b")
    shown = capsys.readouterr().err
    assert "replica ready" in shown
    assert "function=a.b" in shown
    assert "{" not in shown


def test_configuring_twice_writes_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(form="json")
    log.configure(form="json")
    logging.getLogger("other").warning("once")
    assert len(lines(capsys)) == 1
