"""The command lines of image builders, and which builder is chosen. Real builds: tests/contract/builder."""

from __future__ import annotations

import itertools
import stat
from pathlib import Path

import pytest

from hilbert.builder.build_errors import BuilderMissing, BuildFailed
from hilbert.builder.build_request import BuildRequest
from hilbert.builder.container import (
    Builder,
    ImageFlags,
    build_image,
    find_builder,
    has_registry,
    publish_image,
    push_image,
    reset_qemu,
)
from hilbert.builder.programs import Job
from hilbert.core.errors import Unsupported


class Recorder(Job):
    """Writes down what would be run."""

    def __init__(self, status: int = 0, says: str = "") -> None:
        super().__init__("f")
        self.commands: list[list[str]] = []
        self._status, self._says = status, says

    def run(self, argv, *, cwd, env, secret=()):  # type: ignore[no-untyped-def]  # as in Job
        self.commands.append(list(argv))
        self.log(self._says)
        return self._status


def request(tmp_path: Path, **fields: object) -> BuildRequest:
    base = {"name": "f", "lang": "dockerfile", "handler": tmp_path, "image": "127.0.0.1:5000/f:1", "project": tmp_path}
    return BuildRequest(**{**base, **fields})  # type: ignore[arg-type]


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_first_that_works_is_taken(tmp_path: Path) -> None:
    """docker only with its daemon, then podman, then buildah."""
    env = {"PATH": str(tmp_path)}
    with pytest.raises(BuilderMissing) as caught:
        find_builder(env)
    assert "docker is not installed" in caught.value.message
    assert "--bundle" in caught.value.hint
    program(tmp_path, "buildah", "exit 0")
    assert find_builder(env).name == "buildah"
    program(tmp_path, "podman", "exit 0")
    assert find_builder(env).name == "podman"
    program(tmp_path, "docker", "exit 1")
    assert find_builder(env).name == "podman"
    program(tmp_path, "docker", '[ "$1" = version ] && echo 27 && exit 0; exit 1')
    assert find_builder(env).name == "docker"
    program(tmp_path, "docker", "echo 27")
    assert find_builder(env).name == "docker buildx"
    assert find_builder(env, wanted="buildah").name == "buildah"


def test_a_build(tmp_path: Path) -> None:
    """Everything that was asked for is passed on, each as one word."""
    job = Recorder()
    wanted = request(
        tmp_path,
        build_args={"A": "1 2", "ADDITIONAL_PACKAGE": "curl"},
        build_secrets={"pip": tmp_path / "pip.conf"},
        labels={"team": "x"},
    )
    flags = ImageFlags(squash=True, pull=True, skip_tests=True)
    env = {"HTTPS_PROXY": "http://proxy:3128"}
    build_image(
        wanted, tmp_path, ["make"], builder=Builder(program="buildah"), flags=flags, job=job, env=env, mount_ssh=True
    )
    (argv,) = job.commands
    assert argv[:4] == ["buildah", "build", "--tag", "127.0.0.1:5000/f:1"]
    assert argv[-1] == str(tmp_path)
    pairs = list(itertools.pairwise(argv))
    assert ("--build-arg", "A=1 2") in pairs
    assert ("--build-arg", "ADDITIONAL_PACKAGE=make curl") in pairs
    assert ("--build-arg", "TEST_ENABLED=false") in pairs
    assert ("--build-arg", "https_proxy=http://proxy:3128") in pairs
    assert ("--secret", f"id=pip,src={tmp_path / 'pip.conf'}") in pairs
    assert ("--label", "team=x") in pairs
    assert ("--ssh", "default") in pairs
    assert {"--squash", "--pull", "--layers"} <= set(argv)
    assert "--no-cache" not in argv


def test_buildx_loads_and_publishes(tmp_path: Path) -> None:
    """One command builds for all platforms and pushes under all names."""
    builder = Builder(program="docker", buildx=True)
    job = Recorder()
    build_image(request(tmp_path), tmp_path, [], builder=builder, flags=ImageFlags(no_cache=True), job=job, env={})
    assert job.commands[0][:3] == ["docker", "buildx", "build"]
    assert {"--load", "--no-cache"} <= set(job.commands[0])
    job = Recorder()
    wanted = request(tmp_path, platforms="linux/amd64,linux/arm64")
    publish_image(
        wanted, tmp_path, [], builder=builder, flags=ImageFlags(extra_tag="latest"), job=job, env={"PATH": ""}
    )
    create, argv = job.commands  # docker's own builder cannot build for several platforms.
    assert create[:5] == ["docker", "buildx", "create", "--name", "hilbert"]
    assert argv[argv.index("--builder") + 1] == "hilbert"
    assert "--push" in argv
    assert [argv[n + 1] for n, word in enumerate(argv) if word == "--tag"] == [
        "127.0.0.1:5000/f:1",
        "127.0.0.1:5000/f:latest",
    ]
    assert argv[argv.index("--platform") + 1] == "linux/amd64,linux/arm64"


def test_buildx_keeps_its_builder(tmp_path: Path) -> None:
    """It is made once; one platform needs none."""
    program(tmp_path, "docker", "exit 0")
    builder = Builder(program="docker", buildx=True)
    for platforms, extra in (("linux/amd64,linux/arm64", ["--builder", "hilbert"]), ("linux/arm64", []), ("", [])):
        job = Recorder()
        wanted = request(tmp_path, platforms=platforms)
        publish_image(
            wanted,
            tmp_path,
            [],
            builder=builder,
            flags=ImageFlags(),
            job=job,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        )
        (argv,) = job.commands
        assert argv[:4] == ["docker", "buildx", "build", "--push"]
        assert [word for word in argv if word in ("--builder", "hilbert")] == extra


def test_qemu_is_docker_s(tmp_path: Path) -> None:
    """In a container that may change the kernel's table; others say what to do instead."""
    job = Recorder()
    reset_qemu(builder=Builder(program="docker", buildx=True), job=job, env={})
    assert job.commands == [
        ["docker", "run", "--rm", "--privileged", "multiarch/qemu-user-static", "--reset", "-p", "yes"]
    ]
    with pytest.raises(BuildFailed, match="QEMU"):
        reset_qemu(builder=Builder(program="docker"), job=Recorder(1, "no"), env={})
    with pytest.raises(Unsupported) as caught:
        reset_qemu(builder=Builder(program="podman"), job=job, env={})
    assert "qemu-user-static" in caught.value.hint


def test_others_publish_a_manifest_list(tmp_path: Path) -> None:
    """Built under a name, pushed under all."""
    job = Recorder()
    builder = Builder(program="podman")
    publish_image(
        request(tmp_path), tmp_path, [], builder=builder, flags=ImageFlags(extra_tag="x"), job=job, env={"PATH": ""}
    )
    build, first, second = job.commands
    assert build[:4] == ["podman", "build", "--manifest", "127.0.0.1:5000/f:1"]
    assert first[-1] == "docker://127.0.0.1:5000/f:1"
    assert second[-1] == "docker://127.0.0.1:5000/f:x"
    assert "--tls-verify=false" in first


def test_docker_without_buildx_does_not_publish(tmp_path: Path) -> None:
    """It says what is missing."""
    builder = Builder(program="docker")
    with pytest.raises(Unsupported, match="buildx"):
        publish_image(request(tmp_path), tmp_path, [], builder=builder, flags=ImageFlags(), job=Recorder(), env={})


def test_only_loopback_registries_do_without_tls(tmp_path: Path) -> None:
    """As docker has it."""
    job = Recorder()
    for image in (
        "127.0.0.1:5000/f:1",
        "localhost:5000/f:1",
        "registry.example.com/f:1",
        "localhost.example.com/f:1",
        "127.0.0.1.example.com/f:1",
        "[::1]:5000/f:1",
    ):
        push_image(image, builder=Builder(program="buildah"), job=job, env={})
    assert ["--tls-verify=false" in command for command in job.commands] == [True, True, False, False, False, True]


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("dial tcp 10.0.0.1:443: connect: connection refused", "cannot be reached"),
        ("unauthorized: authentication required", "log in"),
        ("short-name resolution enforced but cannot prompt", "BASE_IMAGE"),
        ("write /x: no space left on device", "disk is full"),
        ("something else", ""),
    ],
)
def test_failures_say_what_to_do(tmp_path: Path, said: str, hint: str) -> None:
    """As far as the builder's words tell."""
    with pytest.raises(BuildFailed) as caught:
        push_image("a.b/c:1", builder=Builder(program="podman"), job=Recorder(1, said), env={})
    assert hint in caught.value.hint
    assert said in caught.value.log


@pytest.mark.parametrize(
    ("image", "wanted"),
    [("web:1", False), ("team/web:1", False), ("a.b/web", True), ("localhost/web", True), ("h:5000/web", True)],
)
def test_has_registry(image: str, wanted: bool) -> None:
    """As docker tells a registry from a user."""
    assert has_registry(image) is wanted
