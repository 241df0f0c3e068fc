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
        ("/../style.css", b"p {}", "text/css; charset=utf-8"),
        ("/sub/", b"<p>sub</p>", "text/html; charset=utf-8"),
        ("/style.css", b"p {}", "text/css; charset=utf-8"),
        ("/in", b"p {}", "text/css; charset=utf-8"),
        ("/a%20b.txt", b"spaced", "text/plain; charset=utf-8"),
        ("/none", b"", "text/plain; charset=utf-8"),
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


@pytest.mark.parametrize(
    ("path", "place"),
    [("/sub", "sub/"), ("/sub?a=1", "sub/?a=1"), ("/index.html", "./"), ("/a%20b.txt/", "../a%20b.txt")],
)
def test_each_file_has_one_address(function: Watchdog, path: str, place: str) -> None:
    """So that relative links in it work. What is sent on is relative, as the gateway's prefix is not known here."""
    answer = function.call(path=path)
    assert (answer.status, answer.headers["Location"]) == (301, place)


def test_ranges(function: Watchdog) -> None:
    """One is sent as it is, several in parts; none that the file has is 416, and one that cannot be read is the whole file."""
    whole = bytes(range(256)) * 8192
    some = function.call(path="/data.bin", headers={"Range": "bytes=300000-300009"})
    assert (some.status, some.body) == (206, whole[300000:300010])
    assert some.headers["Content-Range"] == f"bytes 300000-300009/{len(whole)}"
    long = function.call(path="/data.bin", headers={"Range": "bytes=1-"})
    assert (long.status, long.body) == (206, whole[1:])
    several = function.call(path="/data.bin", headers={"Range": "bytes=0-1,-2"})
    boundary = several.headers.get_param("boundary")
    assert several.status == 206
    assert several.body.split(f"--{boundary}".encode())[1].endswith(b"\r\n\r\n\x00\x01\r\n")
    assert several.headers["Content-Length"] == str(len(several.body))
    none = function.call(path="/data.bin", headers={"Range": f"bytes={len(whole)}-"})
    assert (none.status, none.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")
    for odd in ("bytes=5-1", "bytes=x-", "lines=1-2", "bytes=", "bytes=" + ",".join(["0-0"] * 40)):
        assert function.call(path="/data.bin", headers={"Range": odd}).status == 200


def test_conditions(function: Watchdog) -> None:
    """Dates of HTTP, to the second. A date that is none is no condition."""
    modified = function.call(path="/style.css").headers["Last-Modified"]
    early, late = "Thu, 01 Jan 1970 00:00:01 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"

    def status(**headers: str) -> int:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return function.call(path="/style.css", headers=given).status

    assert [status(If_Modified_Since=date) for date in (early, modified, late, "soon")] == [200, 304, 304, 200]
    assert [status(If_Unmodified_Since=date) for date in (early, modified, late, "soon")] == [412, 200, 200, 200]
    assert [status(Range="bytes=0-0", If_Range=date) for date in (early, modified, '"tag"')] == [200, 206, 200]
    assert status(If_Modified_Since=late, If_None_Match='"tag"') == 200


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
