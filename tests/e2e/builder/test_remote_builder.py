"""`publish --remote-builder` against a builder that is played: what it is sent, and what is made of its answers."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import tarfile
import threading
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from nacl.public import Box, PrivateKey, PublicKey

from hilbert.builder.build_errors import BuildFailed
from hilbert.builder.programs import Cancelled, Job
from hilbert.cli.source.remote_builder import PublishFlags, Remote, build_remotely
from support.build import write
from support.cli import CommandLine, Gateway, Reply, Result, scripted
from support.zygote import Zygote

STACK = """\
functions:
  web:
    lang: dockerfile
    handler: ./web
    image: registry.example.com/web:1.0
    build_args: {GREETING: hi}
    platforms: linux/amd64,linux/arm64
"""
SECRET = "shared between builder and callers\n"


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    found = Zygote()
    yield found
    found.close()


@pytest.fixture
def both(zygote: Zygote) -> Iterator[tuple[Gateway, CommandLine]]:
    """A builder, and a project with a function."""
    with scripted(zygote) as (builder, line):
        write(
            line.folder, {"stack.yaml": STACK, "web/Dockerfile": "FROM scratch\n", "web/app/run.sh": "x", "s": SECRET}
        )
        (line.folder / "web/app/run.sh").chmod(0o755)
        (line.folder / "web/link").symlink_to("app/run.sh")
        yield builder, line


def says(*results: dict[str, Any], status: int = 200) -> Reply:
    """An answer that streams."""
    return Reply(
        status,
        headers={"Content-Type": "application/x-ndjson"},
        chunks=[json.dumps(result).encode() + b"\n" for result in results],
    )


DONE = {"status": "success", "image": "registry.example.com/web:1.0", "duration": 1.5}


def publish(line: CommandLine, builder: Gateway, *words: str) -> Result:
    return line.run("publish", "--remote-builder", builder.url, "--payload-secret", "s", *words)


def sent(builder: Gateway, *, number: int = -1) -> dict[str, tarfile.TarInfo | bytes]:
    """The members of the tar that came, files as their bytes."""
    call = [call for call in builder.calls if call.path == "/build"][number]
    with tarfile.open(fileobj=io.BytesIO(call.body)) as tar:
        return {
            member.name: tar.extractfile(member).read() if member.isreg() else member  # type: ignore[union-attr]
            for member in tar
        }


def test_what_a_builder_gets(both: tuple[Gateway, CommandLine]) -> None:
    """A signed tar with the folder as it would be built here, and what to do with it."""
    builder, line = both
    builder.script["POST", "/build"] = [says({"log": ["step 1"], "status": "in_progress"}, {**DONE, "log": ["done"]})]
    result = publish(line, builder, "--verbose", "--build-arg", "MORE=1")
    assert result.status == 0, result.err
    assert "web: step 1" in result.err
    assert "Publishing web done" in result.out
    call = builder.last("POST", "/build")
    assert call.headers["content-type"] == "application/octet-stream"
    assert call.headers["accept"] == "application/x-ndjson"
    assert call.headers["content-length"] == str(len(call.body))
    signature = hmac.new(SECRET.strip().encode(), call.body, hashlib.sha256).hexdigest()
    assert call.headers["x-build-signature"] == f"sha256={signature}"
    members = sent(builder)
    assert json.loads(members["com.openfaas.docker.config"]) == {  # type: ignore[arg-type]
        "image": "registry.example.com/web:1.0",
        "buildArgs": {"GREETING": "hi", "MORE": "1"},
        "platforms": ["linux/amd64", "linux/arm64"],
    }
    assert members["context/Dockerfile"] == b"FROM scratch\n"
    assert members["context/app/run.sh"] == b"x"
    assert members["context/link"].linkname == "app/run.sh"  # type: ignore[union-attr]
    assert "com.openfaas.secrets" not in members


def test_the_same_source_is_the_same_tar(both: tuple[Gateway, CommandLine]) -> None:
    builder, line = both
    builder.script["POST", "/build"] = [says(DONE), says(DONE)]
    assert publish(line, builder).status == 0
    (line.folder / "web/Dockerfile").touch()
    assert publish(line, builder).status == 0
    first, second = (call.body for call in builder.calls if call.path == "/build")
    assert first == second


def test_a_second_tag_is_a_second_build(both: tuple[Gateway, CommandLine]) -> None:
    """The builder takes one name at a time."""
    builder, line = both
    builder.script["POST", "/build"] = [says(DONE), says(DONE)]
    assert publish(line, builder, "--extra-tag", "latest").status == 0
    images = [json.loads(sent(builder, number=n)["com.openfaas.docker.config"])["image"] for n in (0, 1)]  # type: ignore[arg-type]
    assert images == ["registry.example.com/web:1.0", "registry.example.com/web:latest"]


def test_build_secrets_are_sealed(both: tuple[Gateway, CommandLine]) -> None:
    """For the builder's key; without the key nothing is sent."""
    builder, line = both
    write(line.folder, {"stack.yaml": f"{STACK}    build_secrets: {{token: ./token}}\n", "token": "hunter2"})
    result = publish(line, builder)
    assert result.status == 1
    assert "--builder-public-key" in result.err
    assert [call.path for call in builder.calls] == []
    assert line.run("secret", "keygen", "-o", "key").status == 0
    builder.script["POST", "/build"] = [says(DONE), says(DONE)]
    assert publish(line, builder, "--builder-public-key", "key.pub").status == 0
    call = builder.last("POST", "/build")
    assert b"hunter2" not in call.body
    document = yaml.safe_load(sent(builder)["com.openfaas.secrets"])  # type: ignore[arg-type]
    private = PrivateKey(b64decode((line.folder / "key").read_text()))
    box = Box(private, PublicKey(b64decode(document["public_key"])))
    assert box.decrypt(b64decode(document["secrets"]["token"])) == b"hunter2"
    text = (line.folder / "key.pub").read_text().strip()
    assert publish(line, builder, "--builder-public-key", text).status == 0
    assert publish(line, builder, "--builder-public-key", "nonsense").status == 1


def test_the_environment_names_it(both: tuple[Gateway, CommandLine]) -> None:
    """As with OpenFaaS's command line; one answer that does not stream is understood, too."""
    builder, line = both
    builder.script["POST", "/build"] = [Reply(202, json.dumps({**DONE, "log": ["a"]}, indent=1).encode())]
    line.environ |= {"OPENFAAS_REMOTE_BUILDER": builder.url, "OPENFAAS_PAYLOAD_SECRET": "s"}
    result = line.run("publish")
    assert result.status == 0, result.err
    assert "x-build-signature" in builder.last("POST", "/build").headers


@pytest.mark.parametrize(
    ("reply", "error", "hint"),
    [
        (
            says({"log": ["the compiler's words"], "status": "failure", "error": "exit code 1"}),
            "exit code 1",
            "compiler",
        ),
        (says({"log": ["the compiler's words"], "status": "failed"}), "could not build the image: failed", "compiler"),
        (Reply(500, json.dumps({"status": "failure", "error": "boom"}).encode()), "boom", ""),
        (says({"log": ["a"], "status": "in_progress"}), "ended before the build did", "log"),
        (Reply(401, b"bad signature"), "refuses the request: bad signature", "--payload-secret"),
        (
            Reply(429, b"Concurrent request limit exceeded. Max concurrent requests: 1"),
            "limit exceeded",
            "--parallel 1",
        ),
        (Reply(200, b"<html>"), "cannot be read", ""),
        (Reply(502, b"bad gateway"), "502", ""),
    ],
)
def test_builds_that_fail(both: tuple[Gateway, CommandLine], reply: Reply, error: str, hint: str) -> None:
    """Each says why; the end of the log is shown."""
    builder, line = both
    builder.script["POST", "/build"] = [reply]
    result = publish(line, builder)
    assert result.status == 1
    assert error in result.err
    assert hint in result.err
    assert "done" not in result.out


def test_no_builder_there(both: tuple[Gateway, CommandLine]) -> None:
    _, line = both
    result = line.run("publish", "--remote-builder", "http://127.0.0.1:1")
    assert result.status == 1
    assert "the builder at http://127.0.0.1:1 cannot be reached" in result.err


def test_flags_that_make_no_sense(both: tuple[Gateway, CommandLine]) -> None:
    builder, line = both
    for words in (
        ["publish", "--payload-secret", "s"],
        ["publish", "--remote-builder", builder.url, "--builder", "buildah"],
        ["publish", "--remote-builder", builder.url, "--reset-qemu"],
        ["up", "--remote-builder", builder.url],
        ["up", "--publish", "--watch"],
    ):
        assert line.run(*words).status == 2, words
    assert line.run("publish", "--remote-builder", builder.url, "--payload-secret", "nowhere").status == 1
    assert builder.calls == []


def test_what_has_no_effect_is_said(both: tuple[Gateway, CommandLine]) -> None:
    builder, line = both
    builder.script["POST", "/build"] = [says(DONE)]
    result = publish(line, builder, "--no-cache", "--squash")
    assert result.status == 0
    assert "--no-cache has no effect with a remote builder" in result.err
    assert "--squash has no effect with a remote builder" in result.err


def test_up_publishes_and_deploys(both: tuple[Gateway, CommandLine]) -> None:
    """Images by the builder, functions by the gateway."""
    builder, line = both
    builder.script["POST", "/build"] = [says(DONE)]
    result = line.run("up", "--publish", "--remote-builder", builder.url, "--payload-secret", "s")
    assert result.status == 0, result.err
    assert builder.functions["openfaas-fn", "web"]["image"] == "registry.example.com/web:1.0"


def test_a_build_can_be_given_up(tmp_path: Path) -> None:
    """While the builder still says nothing; the thread that waits for it is free at once."""
    builder = Gateway().start()
    arrived, leave = threading.Event(), threading.Event()

    def silent(_: Any) -> Reply:
        arrived.set()
        leave.wait(20)
        return Reply(500)

    builder.add("build")
    builder.answer = silent  # type: ignore[method-assign]
    job = Job("web")
    outcome: list[BaseException] = []

    def work() -> None:
        try:
            with (tmp_path / "payload").open("w+b") as payload:
                payload.write(b"x" * 100_000)
                build_remotely(job, Remote(PublishFlags(remote_builder=builder.url), {}), payload, what="it")
        except (Cancelled, BuildFailed) as exc:
            outcome.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert arrived.wait(20)
        job.cancel()
        thread.join(20)
        assert not thread.is_alive()
        assert [type(exc) for exc in outcome] == [Cancelled]
    finally:
        leave.set()
        builder.close()
