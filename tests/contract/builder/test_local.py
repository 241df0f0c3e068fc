"""One function behind a port: swaps, ends, and what goes wrong."""

from __future__ import annotations

import gc
import http.client
import socket
import threading
from pathlib import Path

import psutil
import pytest

from hilbert.builder.build_errors import BuildFailed
from support.build import Project
from support.platform import until


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def answering(text: str) -> str:
    """A bundle that answers with `text`."""
    return f"def handle(event, context):\n    return {text!r}\n"


def ask(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


def test_swaps_drop_no_call(project: Project) -> None:
    """Calls on connections of their own, one after the other, while versions come and go."""
    request = project.begin("f", "python3-http", {"handler.py": answering("0")})
    answers: list[str] = []
    failures: list[BaseException] = []
    ended = threading.Event()
    with project.local_run() as run:
        run.serve(project.spec(project.build(request, skip_tests=True)), {})

        def call() -> None:
            while not ended.is_set():
                try:
                    answers.append(ask(run.port))
                except BaseException as exc:
                    failures.append(exc)

        callers = [threading.Thread(target=call) for _ in range(3)]
        for caller in callers:
            caller.start()
        for version in ("1", "2", "3"):
            (request.handler / "handler.py").write_text(answering(version))
            run.serve(project.spec(project.build(request, skip_tests=True)), {})
            assert ask(run.port) == version
        ended.set()
        for caller in callers:
            caller.join()
    assert not failures
    assert sorted(set(answers)) == ["0", "1", "2", "3"]


def test_a_version_that_does_not_start_changes_nothing(project: Project) -> None:
    """The error brings its output; the one before goes on."""
    request = project.begin("f", "python3-http", {"handler.py": answering("good")})
    with project.local_run() as run:
        first = run.serve(project.spec(project.build(request, skip_tests=True)), {})
        (request.handler / "handler.py").write_text("raise RuntimeError('not today')\n")
        with pytest.raises(BuildFailed, match="did not start") as caught:
            run.serve(project.spec(project.build(request, skip_tests=True)), {})
        assert "not today" in "\n".join(caught.value.log)
        assert run.version == first
        assert ask(run.port) == "good"


def test_its_end_is_told(project: Project) -> None:
    """A function that ends by itself does not go unnoticed."""
    handler = "import os\n\n\ndef handle(event, context):\n    os._exit(7)\n"
    request = project.begin("f", "python3-http", {"handler.py": handler})
    said: list[str] = []
    with project.local_run(on_event=said.append) as run:
        run.serve(project.spec(project.build(request, skip_tests=True)), {})
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(run.port)
        with pytest.raises(BuildFailed, match="exited"):
            run.wait()
    assert said == ["a replica exited with status 7"]


def test_a_port_that_is_taken(project: Project) -> None:
    """Another is suggested."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(BuildFailed, match=f"cannot listen on port {port}") as caught,
            project.local_run(port=port),
        ):
            pytest.fail("it listens")
        assert "--port" in caught.value.hint


def test_nothing_is_left(project: Project) -> None:
    """Neither processes nor sockets, whatever connections there are at the end, idle ones and ones just being made."""
    built = project.build(project.begin("f", "python3-http"), skip_tests=True)
    before = set(psutil.Process().children(recursive=True))
    for _ in range(3):
        connections = []
        with project.local_run() as run:
            run.serve(project.spec(built), {})
            for _ in range(3):
                connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=20)
                connection.request("GET", "/")
                connection.getresponse().read()
                connections.append(connection)
            late = http.client.HTTPConnection("127.0.0.1", run.port, timeout=20)
            late.connect()
            connections.append(late)
        for connection in connections:
            connection.close()
        gc.collect()  # What was not closed warns, and warnings are errors.
    until(lambda: set(psutil.Process().children(recursive=True)) <= before, what="every process to end")
