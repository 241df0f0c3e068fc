"""Mode static: the files of one folder, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support.watchdog import UnixConnection, Watchdog, watchdog


@pytest.fixture(scope="module")
def function() -> Iterator[Watchdog]:
    with watchdog(start=False, HILBERT_MODE="static") as made:
        root = made.folder / "public"
        (root / "sub").mkdir(parents=True)
        (root / "empty").mkdir()
        (root / "index.html").write_text("<p>home</p>")
        (root / "sub" / "index.html").write_text("<p>sub</p>")
        (root / "style.css").write_text("p {}")
        (root / "data.bin").write_bytes(bytes(range(256)) * 8192)
        (root / "a b.txt").write_text("spaced")
        (root / "none").touch()
        (made.folder / "secret").write_text("secret")
        (root / "out").symlink_to(made.folder / "secret")
        (root / "away").symlink_to("/etc")
        (root / "in").symlink_to("style.css")
        (root / "closed").write_text("x")
        os.mkfifo(root / "pipe")
        made.env = dict(made.env) | {"static_path": str(root)}
        made.start()
        made.wait_ready()
        yield made


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/", b"<p>home</p>", "text/html; charset=utf-8"),
        ("/index.html?v=1", b"<p>home</p>", "text/html; charset=utf-8"),
        ("/sub/", b"<p>sub</p>", "text/html; charset=utf-8"),
        ("/style.css", b"p {}", "text/css; charset=utf-8"),
        ("/in", b"p {}", "text/css; charset=utf-8"),
        ("/a%20b.txt", b"spaced", "text/plain; charset=utf-8"),
        ("/none", b"", "application/octet-stream"),
        ("/data.bin", bytes(range(256)) * 8192, "application/octet-stream"),
    ],
)
def test_files(function: Watchdog, path: str, body: bytes, kind: str) -> None:
    """Content and type."""
    answer = function.call(path=path)
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, body, kind)
    assert answer.headers["Content-Length"] == str(len(body))
    assert answer.headers["Last-Modified"].endswith(" GMT")


@pytest.mark.parametrize(
    "path",
    [
        "/missing",
        "/empty/",
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/sub/../../secret",
        "/out",
        "/away/passwd",
        "/away/",
        "//etc/passwd",
        "/pipe",
        "/x%00.css",
        "/style.css/",
        "/" + "x" * 5000,
    ],
)
def test_what_is_not_there(function: Watchdog, path: str) -> None:
    """Not by dots, not by links out of the folder, not what is no regular file."""
    connection = UnixConnection(function.socket_path)
    connection.putrequest("GET", path, skip_host=False)
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (404, b"404 page not found\n")
    connection.close()


def test_a_folder_without_its_slash_is_a_redirect(function: Watchdog) -> None:
    """So that relative links in it work."""
    answer = function.call(path="/sub")
    assert (answer.status, answer.headers["Location"]) == (301, "sub/")


def test_head_and_other_methods(function: Watchdog) -> None:
    """HEAD has the same headers; nothing else is allowed."""
    head = function.call("HEAD", "/style.css")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "4")
    assert [function.call(method, "/style.css").status for method in ("POST", "PUT", "DELETE")] == [405] * 3


def test_a_file_without_permission() -> None:
    """403, where the kernel refuses."""
    if os.geteuid() == 0:
        pytest.skip("nothing is closed to root")
    with watchdog(start=False, HILBERT_MODE="static") as made:
        (made.folder / "closed").touch(0o000)
        made.env = dict(made.env) | {"static_path": str(made.folder)}
        made.start()
        made.wait_ready()
        assert made.call(path="/closed").status == 403
