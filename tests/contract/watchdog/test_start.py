"""What stops a replica from starting, and what it says then."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from support.watchdog import SEARCH, START, Watchdog, running, until, watchdog


def for_everybody(python: str) -> bool:
    """Whether an interpreter of this version can be run, with this source, by a user without rights."""
    code = (
        f"import sys; sys.path[:0] = {SEARCH.split(':')!r}; import hilbert.watchdog.front; print(sys.version_info[:2])"
    )
    try:
        done = subprocess.run([python, "-I", "-S", "-c", code], user=12345, group=12346, capture_output=True, text=True)
    except OSError:
        return False
    return done.stdout.strip() == str(sys.version_info[:2])


def failed(**env: str) -> Watchdog:
    """A watchdog that has ended without serving. Its log is read before its folder goes."""
    with watchdog(ready=False, **env) as function:
        status = function.wait()
        assert status == 3, f"{status}\n{function.log}"
        function.last = function.texts[-1].partition("Cannot start: ")[2]  # type: ignore[attr-defined]
        function.said = function.log  # type: ignore[attr-defined]
    return function


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"mode": "inproc", "fprocess": "cat"}, "mode 'inproc' is not supported; use one of python, http, "),
        ({}, "mode streaming needs a process; set fprocess"),
        ({"fprocess": "  "}, "fprocess is blank"),
        ({"fprocess": "echo 'a"}, 'fprocess "echo \'a" cannot be split into words: No closing quotation'),
        ({"fprocess": "no-such-command x"}, "fprocess 'no-such-command x': no executable 'no-such-command' in "),
        ({"fprocess": "/etc/passwd"}, "fprocess '/etc/passwd': /etc/passwd is not executable"),
        ({"fprocess": "cat", "mode": "http"}, "mode http needs upstream_url, such as http://127.0.0.1:5000"),
        ({"fprocess": "cat", "mode": "http", "upstream_url": "https://x"}, "upstream_url 'https://x' must be like "),
        ({"fprocess": "cat", "jwt_auth": "true"}, "jwt_auth needs OPENFAAS_NAME and OPENFAAS_NAMESPACE"),
        ({"mode": "static", "static_path": "/no/such"}, "static_path /no/such is not a folder"),
        ({"HILBERT_MODE": "python"}, "mode python needs HILBERT_HANDLER"),
        ({"HILBERT_MODE": "python", "HILBERT_HANDLER": "/no/such.py"}, "the handler /no/such.py is not a Python file"),
        ({"fprocess": "cat", "HILBERT_BUNDLE": "/no/such"}, "cannot enter the bundle /no/such: No such file"),
        ({"fprocess": "cat", "HILBERT_SETUID": "root"}, "HILBERT_SETUID='root' must be UID:GID"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_honoured_is_refused(env: dict[str, str], message: str) -> None:
    """The last line of the log says what to change."""
    assert failed(**env).last.startswith(message)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module", "handler.py failed while it was imported: ModuleNotFoundError: No module named"),
        ("def handle(event, context)\n  pass", "handler.py failed while it was imported: SyntaxError: "),
        ("raise SystemExit(0)", "handler.py failed while it was imported: SystemExit: 0"),
        ("def handler(event, context): pass", "handler.py has no function handle(event, context)"),
    ],
)
def test_a_handler_that_cannot_be_loaded(source: str, message: str) -> None:
    """The traceback is in the log, and its sense in the last line."""
    function = failed(handler=source)
    assert function.last.startswith(message)  # type: ignore[attr-defined]
    if "failed" in message:
        assert "Traceback" in function.said or "SyntaxError" in function.said  # type: ignore[attr-defined]


def test_unparsable_settings_fall_back_with_a_line() -> None:
    """As in OpenFaaS, a wrong duration is its default; here the log says so."""
    with watchdog(HILBERT_MODE="streaming", fprocess="cat", exec_timeout="soon", max_inflight="-1") as function:
        assert function.call("POST", body=b"x").body == b"x"
        said = "\n".join(function.texts)
        assert "exec_timeout='soon' is not a duration like 30 or 1m30s; 30s is used" in said
        assert "max_inflight='-1' is not a whole number; 0 is used" in said


def test_it_is_not_ready_before_the_process_listens() -> None:
    """Mode http: 503 while the process starts; a call that comes too early waits and is answered."""
    with running("http", ready=False) as function:
        early = function.call("POST", body=b"early")
        assert early.body == b"early"
    with watchdog(ready=False, HILBERT_MODE="http", fprocess="sleep 1000", upstream_url="http://127.0.0.1:1") as made:
        assert [made.call(path="/_/ready").status for _ in range(5)] == [503] * 5
        assert made.call(path="/_/health").status == 200


def test_a_handler_is_ready_once_it_is_loaded() -> None:
    """Mode python: a request made while it is imported waits in the socket's queue."""
    source = (
        "import pathlib, time\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.005)\n"
        "def handle(event, context): return 'loaded'\n"
    )
    with watchdog(ready=False, handler=source) as function, function.connect() as raw:
        raw.sendall(b"GET /_/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        raw.settimeout(0.15)
        with pytest.raises(TimeoutError):
            raw.recv(100)
        (function.folder / "go").touch()
        raw.settimeout(20)
        assert raw.recv(100).startswith(b"HTTP/1.1 200 ")


def test_the_ready_path_is_the_functions_own() -> None:
    """`ready_path`: the function is asked, and its status is the answer."""
    source = "def handle(event, context): return event.path, 200 if event.path == '/up' else 503\n"
    with watchdog(handler=source, ready_path="/up") as function:
        assert function.call(path="/_/ready").body == b"/up"
    with watchdog(ready=False, handler=source, ready_path="/down") as function:
        assert function.call(path="/_/ready").status == 503


def test_asyncio_is_imported_only_when_it_is_needed() -> None:
    """Cold starts: the heavy modules stay out of a plain handler's process."""
    source = (
        "import sys\n"
        "heavy = ('asyncio', 'msgspec', 'structlog', 'uvloop', 'logging', 'inspect', 'dataclasses', 'pathlib')\n"
        "def handle(event, context): return ' '.join(name for name in heavy if name in sys.modules)\n"
    )
    with watchdog(handler=source, start=False) as function:
        function.start()
        function.wait_ready()
        assert function.call().text == ""


def test_layers_reach_the_handler_and_children() -> None:
    """Folders of dependencies: on `sys.path`, and in the paths that other languages look at."""
    source = "import lib\ndef handle(event, context): return lib.TEXT\n"
    with watchdog(start=False, handler=source) as function:
        layer = function.folder / "layer"
        (layer / "bin").mkdir(parents=True)
        (layer / "node_modules").mkdir()
        (layer / "lib.py").write_text("TEXT = 'from the layer'")
        function.env = dict(function.env) | {"HILBERT_LAYERS": str(layer)}
        function.start()
        function.wait_ready()
        assert function.call().text == "from the layer"
    with watchdog(start=False, HILBERT_MODE="streaming", fprocess="env") as function:
        layer = function.folder / "layer"
        (layer / "bin").mkdir(parents=True)
        (layer / "node_modules").mkdir()
        function.env = dict(function.env) | {"HILBERT_LAYERS": str(layer), "HILBERT_SECRETS_DIR": "/s"}
        function.start()
        function.wait_ready()
        lines = function.call().text.splitlines()
    assert f"NODE_PATH={layer}/node_modules" in lines
    assert f"PYTHONPATH={layer}" in lines
    assert any(line.startswith(f"PATH={layer}/bin:") for line in lines)
    assert "HILBERT_SECRETS_DIR=/s" in lines


def test_another_user_for_good() -> None:
    """`HILBERT_SETUID`: user, group and no others, no way back, and no new privileges."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    python = next(filter(for_everybody, (os.path.realpath(sys.executable), "/usr/bin/python3")), "")
    if not python:
        pytest.skip("no Python of this version here can be run by every user")
    source = (
        "import os\n"
        "def handle(event, context):\n"
        "    status = open('/proc/self/status').read()\n"
        "    privileges = next(line for line in status.splitlines() if line.startswith('NoNewPrivs'))\n"
        "    return {'body': {'ids': os.getresuid() + os.getresgid(), 'groups': os.getgroups(), 'p': privileges}}\n"
    )
    with watchdog(start=False, handler=source, HILBERT_SETUID="12345:12346") as function:
        os.chmod(function.folder, 0o755)
        function.command = (python, "-I", "-S", "-c", START, SEARCH)
        function.start()
        function.wait_ready()
        assert json.loads(function.call().text) == {
            "ids": [12345, 12345, 12345, 12346, 12346, 12346],
            "groups": [],
            "p": "NoNewPrivs:\t1",
        }


def test_the_module_runs_by_itself() -> None:
    """`python -m hilbert.watchdog` with nothing configured says what is missing, to standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "hilbert.watchdog"], env={"PYTHONPATH": SEARCH}, capture_output=True, timeout=20
    )
    assert done.returncode == 3
    assert done.stderr == b"Cannot start: mode streaming needs a process; set fprocess\n"


def test_a_callback_that_fails_is_not_the_end() -> None:
    """A mistake in answering one call is logged, and the next is answered: here a header that cannot be sent."""
    source = "def handle(event, context): return {'headers': {'X': event.path}, 'body': 'x'}\n"
    with watchdog(handler=source) as function:
        assert function.call(path="/a%0D%0Ab").status == 500
        until(lambda: "must not contain a line break" in function.log, what="the reason in the log")
        assert function.call(path="/a").headers["X"] == "/a"
