"""Container images on the whole platform: deployed by name, called through the gateway, gone without a trace."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.container_images import (
    busybox_layer,
    layer,
    load,
    missing_for_images,
    python_image,
    store_of_tests,
    write_image,
)
from support.platform import Platform, command, running, until

CGI = r"""#!/bin/busybox sh
printf 'Content-Type: text/plain\r\n\r\n'
echo "$OPENFAAS_NAME $greeting $(/bin/busybox cat /var/openfaas/secrets/token)"
/bin/busybox id
"""

SAYING = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())

http.server.HTTPServer(("", 8080), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    if missing := missing_for_images():
        pytest.skip(missing)
    with running("gateway.workers=2") as started:
        (started.state / "oci").symlink_to(store_of_tests())
        if busybox_layer():
            folder = tmp_path_factory.mktemp("images")
            load(busybox_image(folder / "web.tar"), "web")
        yield started


def busybox_image(file: Path) -> Path:
    """As small as an image with a server can be; its user has a name."""
    files = {"www/index.html": "hello", "www/cgi-bin/who": CGI}
    accounts = layer({"etc/passwd": "root:x:0:0::/:/bin/sh\nweb:x:1234:99::/www:/bin/sh\n"}, mode=0o644)
    return write_image(
        file,
        [busybox_layer(), layer(files), accounts],
        entrypoint=["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"],
        config={"User": "web", "Env": ["greeting=hi"], "WorkingDir": "/made/for/it"},
    )


def deploy(platform: Platform, name: str, image: str, **fields: object) -> None:
    answer = platform.api("POST", "/system/functions", {"service": name, "image": image, **fields})
    assert answer.status == 202, answer.text


def remove(platform: Platform, *names: str) -> None:
    for name in names:
        platform.api("DELETE", "/system/functions", {"functionName": name})
    until(lambda: not servers(platform), what="every program to end", log=lambda: platform.log)


def test_an_image_is_called_through_every_worker(platform: Platform) -> None:
    deploy(platform, "echo", "echo", labels={"com.openfaas.scale.min": "2"})
    for number in range(40):
        answer = platform.call("/function/echo", method="POST", body=b"x" * number)
        assert (answer.status, answer.body) == (200, b"x" * number)
    described = platform.hilbert("describe", "echo").stdout.decode()
    assert "bubblewrap" in described, described
    assert "sha256:" in described, described
    remove(platform, "echo")


@pytest.mark.skipif(not busybox_layer(), reason="there is no busybox here (package busybox-static)")
def test_an_images_own_program_user_environment_and_folder(platform: Platform) -> None:
    assert platform.api("POST", "/system/secrets", {"name": "token", "value": "s3cret"}).status < 300
    deploy(platform, "web", "web", secrets=["token"])
    answer = platform.call("/function/web/cgi-bin/who")
    assert answer.status == 200, answer.text
    assert answer.text.splitlines()[0] == "web hi s3cret"
    assert "uid=1234" in answer.text
    assert "gid=99" in answer.text
    assert platform.call("/function/web/index.html").text == "hello"
    remove(platform, "web")


def test_an_image_that_is_nowhere_says_so(platform: Platform) -> None:
    """It may be pulled for long, so it is accepted; what became of it is its status."""
    deploy(platform, "lost", "127.0.0.1:9/nobody/nothing:1")

    def explained() -> bool:
        answer = platform.call("/function/lost")
        return answer.status >= 500 and "image" in answer.text

    until(explained)
    remove(platform, "lost")


def test_replicas_of_images_survive_what_is_killed(platform: Platform) -> None:
    deploy(platform, "echo", "echo")
    assert platform.call("/function/echo", method="POST", body=b"1").status == 200
    before = servers(platform)
    for module in ("hilbert.server.control", "hilbert.runtimes.network.keeper", "hilbert.runtimes.oci.launcher"):
        for process in _running(module, platform):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        until(lambda: platform.call("/function/echo", method="POST", body=b"2").status == 200)
    until(lambda: platform.api("GET", "/system/functions").status == 200)
    assert servers(platform) == before
    deploy(platform, "other", "run")  # The launcher is started anew.
    assert platform.call("/function/other", method="POST", body=b"print(1)").text == "1\n"
    remove(platform, "other", "echo")


def test_a_frozen_replica_answers_the_next_call_and_survives_a_kill(platform: Platform) -> None:
    """At zero it shows no replica; a call lets it go on, also one that comes after the control process was killed."""
    labels = {"com.openfaas.scale.zero": "true", "com.openfaas.scale.zero-duration": "1s"}
    deploy(platform, "echo", "echo", labels=labels, annotations={"com.hilbert.scale.idle": "freeze"})
    assert platform.call("/function/echo", method="POST", body=b"1").status == 200
    (before,) = servers(platform)

    def frozen() -> bool:
        found = json.loads(platform.api("GET", "/system/function/echo?usage=1").body)
        return not found.get("replicas") and found["hilbert"].get("placement", {}).get("frozen") == "1"

    until(frozen, what="the replica to be frozen", log=lambda: platform.log)
    answer = platform.call("/function/echo", method="POST", body=b"2")
    assert (answer.status, answer.body) == (200, b"2")
    assert servers(platform) == [before]
    until(frozen, what="the replica to be frozen again", log=lambda: platform.log)
    for process in _running("hilbert.server.control", platform):
        process.kill()
    until(lambda: platform.call("/function/echo", method="POST", body=b"3").body == b"3")
    assert servers(platform) == [before]
    remove(platform, "echo")


def test_an_image_of_the_same_name_with_new_content_starts_new_replicas(platform: Platform, tmp_path: Path) -> None:
    """As a tag that was built and loaded again; the same content starts nothing."""
    for version, method in (("one", "POST"), ("two", "PUT")):
        load(python_image(tmp_path / f"{version}.tar", SAYING, version), "again")
        assert platform.api(method, "/system/functions", {"service": "again", "image": "again"}).status == 202
        until(lambda version=version: platform.call("/function/again").text == version, log=lambda: platform.log)  # type: ignore[misc]
    until(lambda: len(servers(platform)) == 1, what="the old replica to end")
    before = servers(platform)
    assert platform.api("PUT", "/system/functions", {"service": "again", "image": "again"}).status == 202
    for _ in range(5):
        assert platform.call("/function/again").text == "two"
    assert servers(platform) == before
    remove(platform, "again")


def _running(module: str, platform: Platform) -> list[psutil.Process]:
    return [process for process in platform.processes() if module in command(process)]


def servers(platform: Platform) -> list[int]:
    """The programs of images that run."""
    found = []
    for process in platform.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            words = process.cmdline()
            if process.name() != "bwrap" and ("/server.py" in words or "httpd" in words):
                found.append(process.pid)
    return sorted(found)
