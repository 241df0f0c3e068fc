"""Which of a function's last lines says why it ended."""

from __future__ import annotations

import pytest

from hilbert.core.last_words import exception_in, telling_line

NODE = """\
2026/11/28 21:31:46 stderr: /home/app/function/handler.js:1
2026/11/28 21:31:46 stderr: throw new TypeError("no key");
2026/11/28 21:31:46 stderr: ^
2026/11/28 21:31:46 stderr:
2026/11/28 21:31:46 stderr: TypeError: no key
2026/11/28 21:31:46 stderr:     at Object.<anonymous> (/home/app/function/handler.js:1:7)
2026/11/28 21:31:46 stderr:     at async load (/home/app/index.js:350:18) {
2026/11/28 21:31:46 stderr:   code: 'E'
2026/11/28 21:31:46 stderr: }
2026/11/28 21:31:46 stderr:
2026/11/28 21:31:46 stderr: Node.js v22.1.0
2026/11/28 21:31:46 The function's process has ended with status 1"""

MISSING = """\
Error: Cannot find module 'left-pad'
Require stack:
- /home/app/function/handler.js
    at Module._resolveFilename (node:internal/modules/cjs/loader:1225:15)"""

GO = """\
2026/11/28 21:31:46 listening
panic: no DATABASE_URL given

goroutine 1 [running]:
main.main()
\t/src/main.go:8 +0x39
exit status 2"""

JAVA = """\
Exception in thread "main" java.lang.IllegalStateException: no bean
\tat com.example.Main.main(Main.java:3)
\t... 12 more"""

PYTHON = """\
Traceback (most recent call last):
  File "/home/app/server.py", line 3, in <module>
    serve()
OSError: [Errno 98] Address already in use"""

OURS = """\
pydantic_core.ValidationError: 1 validation error for Settings
API_KEY
  Field required
Cannot start: handler.py failed while it was imported: ValidationError: 1 validation error for Settings
API_KEY
  Field required"""


@pytest.mark.parametrize(
    ("text", "line", "exception"),
    [
        (NODE, "TypeError: no key", "TypeError"),
        (MISSING, "Error: Cannot find module 'left-pad'", ""),
        (GO, "panic: no DATABASE_URL given", ""),
        (JAVA, 'Exception in thread "main" java.lang.IllegalStateException: no bean', ""),
        (PYTHON, "OSError: [Errno 98] Address already in use", "OSError"),
        (
            OURS,
            "Cannot start: handler.py failed while it was imported: ValidationError: 1 validation error for Settings",
            "ValidationError",
        ),
        ("config is bad, bye\n2026/11/28 21:31:46 The function's process has ended with status 3", "config is bad, bye", ""),
        ("Killed", "", ""),
        ("", "", ""),
        ("SystemExit: 3", "SystemExit: 3", "SystemExit"),
        ("the secret word is hunter2Error: x", "the secret word is hunter2Error: x", ""),
    ],
)  # fmt: skip
def test_the_telling_line(text: str, line: str, exception: str) -> None:
    found = telling_line(text.split("\n"))
    assert (found, exception_in(found)) == (line, exception)


def test_only_the_end_is_looked_at() -> None:
    """An error of long ago is not why it ended."""
    assert telling_line(["ValueError: old", *[""] * 50]) == ""


def test_a_name_is_short() -> None:
    assert len(exception_in("X" * 5000 + "Error: y")) <= 64
