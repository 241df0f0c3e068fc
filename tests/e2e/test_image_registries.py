"""Functions whose images come from a registry or from a build on this machine, on the whole platform."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.container_images import busybox_layer, missing_for_images
from support.containers import Containers, containers, missing_tools
from support.images import Image, file, layer
from support.platform import HILBERT, Platform, running, until
from support.registries import PASSWORD, USER, Registry, have_registry, registry

pytestmark = pytest.mark.skipif(
    bool(missing_for_images()) or not have_registry or not busybox_layer(), reason="images cannot be run or served here"
)


@pytest.fixture(scope="module")
def private() -> Iterator[Registry]:
    with registry(passwords=True) as made:
        yield made


@pytest.fixture(scope="module")
def platform(private: Registry) -> Iterator[Platform]:
    with running(f"images.insecure_registries={private.host}") as started:
        yield started


def page(text: str) -> Image:
    """Answers with a text."""
    files = layer(file("www/index.html", text.encode()), file("www/_/health", b"ok"))
    config = {"Entrypoint": ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"], "User": "12000"}
    return Image(busybox_layer(), files, config=config)


def deploy(platform: Platform, name: str, image: str, namespace: str = "openfaas-fn", method: str = "POST") -> None:
    body = {"service": name, "image": image, "namespace": namespace}
    answer = platform.api(method, "/system/functions", body)
    assert answer.status == 202, answer.text


def says(platform: Platform, name: str, text: str) -> bool:
    return platform.call(f"/function/{name}/index.html").text == text


def test_a_private_image_is_for_the_namespaces_that_can_log_in(platform: Platform, private: Registry) -> None:
    name = private.push(page("private"), "team/page", "1")
    login = f"{USER}:{PASSWORD}@{private.host}"
    platform.hilbert("namespace", "create", "one", "--annotation", "com.hilbert.pull-secret=login")
    platform.hilbert("namespace", "create", "two")
    assert platform.api("POST", "/system/secrets", {"name": "login", "namespace": "one", "value": login}).status < 300
    deploy(platform, "page", name, "one")
    until(lambda: says(platform, "page.one", "private"), what="the page", log=lambda: platform.log)
    deploy(platform, "page", name, "two")

    def refused() -> bool:
        answer = platform.call("/function/page.two")
        return answer.status >= 500 and "image" in answer.text

    until(refused, what="the refusal")
    described = platform.hilbert("describe", "page", "--namespace", "two").stdout.decode()
    assert "shows it only to those who log in" in described
    listed = platform.hilbert("images", "list").stdout.decode()
    assert re.search(rf"{re.escape(name)} +one +[0-9a-f]{{12}} +image, pulled .* 1 ", listed), listed
    platform.hilbert("namespace", "delete", "one", "--yes")
    platform.hilbert("namespace", "delete", "two", "--yes")
    until(lambda: name not in platform.hilbert("images", "list").stdout.decode(), what="its images to go with it")


def test_latest_is_asked_for_at_each_deployment(platform: Platform, private: Registry) -> None:
    name = private.push(page("old"), "team/latest", "latest")
    secret = {"name": "login", "value": f"{USER}:{PASSWORD}@{private.host}"}
    assert platform.api("POST", "/system/secrets", secret).status < 300
    body = {"service": "latest", "image": name, "annotations": {"com.hilbert.pull-secret": "login"}}
    assert platform.api("POST", "/system/functions", body).status == 202
    until(lambda: says(platform, "latest", "old"), what="the page", log=lambda: platform.log)
    private.push(page("new"), "team/latest", "latest")
    assert platform.api("PUT", "/system/functions", body).status == 202
    until(lambda: says(platform, "latest", "new"), what="the new page", log=lambda: platform.log)

    # What is named by nobody stays while a replica uses it.
    until(lambda: len(used(platform)) == 1, what="the old replica to end")
    (digest,) = used(platform)
    platform.hilbert("images", "remove", name)
    platform.hilbert("images", "prune", "--older-than", "0s")
    assert says(platform, "latest", "new")
    platform.api("DELETE", "/system/functions", {"functionName": "latest"})
    until(lambda: not used(platform), what="the replica to give its image up")
    platform.hilbert("images", "prune", "--older-than", "0s")
    assert not (platform.state / "oci" / "images" / f"{digest}.json").exists()


def used(platform: Platform) -> set[str]:
    """Images of replicas. One may be given up while we look."""
    found = set()
    for folder in (platform.state / "oci" / "pins").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found |= {folder.name for pin in folder.iterdir() if pin.name.startswith("latest-")}
    return found


@pytest.fixture(scope="module")
def builder() -> Iterator[Containers]:
    if reason := missing_tools():
        pytest.skip(reason)
    with containers() as made:
        yield made


def test_up_watch_of_a_dockerfile(platform: Platform, builder: Containers, tmp_path: Path) -> None:
    """What is saved is built and serving, and no registry has been asked."""
    handler = tmp_path / "web"
    (handler / "www" / "_").mkdir(parents=True)
    (handler / "www" / "_" / "health").write_text("ok")
    (handler / "www" / "index.html").write_text("one")
    (handler / "busybox.tar").write_bytes(busybox_layer())
    (handler / "Dockerfile").write_text(
        "FROM scratch\nADD busybox.tar /\nCOPY www /www\nUSER 12000\n"
        'ENTRYPOINT ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]\n'
    )
    (tmp_path / "stack.yaml").write_text(
        f"provider: {{gateway: '{platform.url}'}}\n"
        "functions:\n  web: {lang: dockerfile, handler: ./web, image: 'web:1'}\n"
    )
    log = tmp_path / "log"
    with log.open("wb") as said:
        command = [HILBERT, "up", "--watch", "--builder", "buildah"]
        environ = {**builder.env, **platform.environ}
        process = subprocess.Popen(
            command, env=environ, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
    try:
        until(lambda: "press Ctrl-C to stop" in log.read_text(), within=120, what="the watch", log=log.read_text)
        assert says(platform, "web", "one")
        (handler / "www" / "index.html").write_text("two")
        until(lambda: says(platform, "web", "two"), within=60, what="the new page", log=log.read_text)
        until(lambda: re.search(r"web: sha256:[0-9a-f]{12} is serving", log.read_text()), log=log.read_text)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    platform.api("DELETE", "/system/functions", {"functionName": "web"})
