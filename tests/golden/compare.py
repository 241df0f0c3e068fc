"""Where two answers to one recorded request differ."""

from __future__ import annotations

from typing import Any

from golden.cases import Case
from golden.raw import VOLATILE, Answer

_IGNORED = VOLATILE | {"connection", "keep-alive", "transfer-encoding", "server", "via"}
"""Headers that belong to the connection, or name the program that answers."""

_ADDED = frozenset({"x-hilbert-internal", "x-openfaas-internal"})
"""Headers by which ours says that the platform answered."""

_PAGE_HEADERS = frozenset({"content-type", "content-security-policy", "x-content-type-options"})
"""Headers of a framework's error page, which nobody but a person reads."""

_OUTCOMES = (
    "status",
    "reason",
    "closed",
    "cut",
    "timed_out",
    "not_started",
    "function_ended",
    "exit",
    "lock_file",
    "health",
    "health_after_sigterm",
)


def differences(case: Case, got: Answer) -> list[str]:
    """One line for each difference: what, what the original gave, what ours gave."""
    want = case["answer"]
    if "or" in want:  # Two things race in the original: the nearest of its answers counts.
        several = [{k: v for k, v in want.items() if k != "or"}, *want["or"]]
        return min((differences(case | {"answer": one}, got) for one in several), key=len)
    found = [f"{name}: {want.get(name)!r} -> {got.get(name)!r}" for name in _OUTCOMES if _outcome(want, got, name)]
    if want.get("status") is not None and got.get("status") is not None:
        if not _same_body(want, got):
            found.append(f"body: {want.get('body')} -> {got.get('body')}")
        found += _headers(case, want, got)
    if "second" in want:
        inner = case | {"answer": want["second"]["answer"]}
        found += [f"second {line}" for line in differences(inner, got.get("second") or {"status": None})]
    if "log" in want and sorted(want["log"]) != sorted(got.get("log") or ()):
        found.append(f"log: {want['log']} -> {got.get('log')}")
    return found


def _outcome(want: Answer, got: Answer, name: str) -> bool:
    expected, given = want.get(name), got.get(name)
    if name in ("exit", "function_ended") and None not in (expected, given):
        return bool(expected) != bool(given)
    return bool(expected != given)


def _same_body(want: Answer, got: Answer) -> bool:
    expected, given = want.get("body"), got.get("body") or {"text": ""}
    if not expected or "any" in expected or want.get("page"):
        return True
    if "sha256" in expected:
        return bool(given.get("sha256") == expected["sha256"])
    return bool(given == expected)


def _headers(case: Case, want: Answer, got: Answer) -> list[str]:
    expected, given = _table(want), _table(got)
    found = []
    for name in sorted(expected.keys() | given.keys()):
        same_page = want.get("page") and name in _PAGE_HEADERS and want["status"] == got["status"]
        length_of_body = name == "content-length" and case["request"]["method"] != "HEAD"
        added = name in _ADDED and name not in expected
        added = added or (name == "content-type" and "multipart" in (want.get("body") or {}).get("any", ""))
        if expected.get(name) != given.get(name) and not (same_page or length_of_body or added):
            found.append(f"header {name}: {expected.get(name)} -> {given.get(name)}")
    return found


def _table(answer: Answer) -> dict[str, list[Any]]:
    table: dict[str, list[Any]] = {}
    for name, value in answer.get("headers", ()):
        if name.lower() not in _IGNORED:
            text = ", ".join(sorted(value.replace(" ", "").split(","))) if name.lower() == "allow" else value
            table.setdefault(name.lower(), []).append(text)
    return table
