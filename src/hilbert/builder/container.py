"""Container images through the builder that is there: docker (with buildx), podman or buildah."""

from __future__ import annotations

import ipaddress
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from hilbert.builder.build_errors import BuilderMissing, BuildFailed
from hilbert.builder.build_request import BuildRequest
from hilbert.builder.image_names import split_tag
from hilbert.builder.programs import Job, output_of
from hilbert.core.errors import Unsupported

Program = Literal["docker", "podman", "buildah"]

_BUILDX: Final = "hilbert"
"""The builder of docker's buildx that is made for several platforms."""
_QEMU: Final = "multiarch/qemu-user-static"
_PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "no_proxy")


class Builder(msgspec.Struct, frozen=True, kw_only=True):
    """A program that builds and pushes images."""

    program: Program
    buildx: bool = False
    """docker with the buildx plug-in."""

    @property
    def name(self) -> str:
        return "docker buildx" if self.buildx else self.program


class ImageFlags(msgspec.Struct, frozen=True, kw_only=True):
    """How to build images, for all functions of a command."""

    no_cache: bool = False
    squash: bool = False
    pull: bool = False
    skip_tests: bool = False
    extra_tag: str = ""
    """A further tag of the same image, on `publish`."""


def find_builder(env: Mapping[str, str], *, wanted: str = "") -> Builder:
    """The first of docker, podman and buildah that works here, or the one that is wanted. Raises `BuilderMissing`."""
    tried = []
    for program in ("docker", "podman", "buildah"):
        if wanted and program != wanted:
            continue
        if shutil.which(program, path=env.get("PATH")) is None:
            tried.append(f"{program} is not installed")
        elif program == "docker":
            if output_of(["docker", "version", "--format", "{{.Server.Version}}"], cwd=Path("/"), env=env):
                buildx = output_of(["docker", "buildx", "version"], cwd=Path("/"), env=env) is not None
                return Builder(program="docker", buildx=buildx)
            tried.append("docker's daemon does not answer")
        else:
            return Builder(program="podman" if program == "podman" else "buildah")
    raise BuilderMissing(
        f"no program that builds container images works here: {', '.join(tried) or wanted}",
        hint="install buildah, podman or docker; or build a bundle for the process runtime with --bundle",
    )


def build_image(
    request: BuildRequest,
    context: Path,
    packages: Sequence[str],
    *,
    builder: Builder,
    flags: ImageFlags,
    job: Job,
    env: Mapping[str, str],
    mount_ssh: bool = False,
) -> None:
    """Build `context` into the image `request.image`, for this machine. Raises `BuildFailed`."""
    words = ["buildx", "build", "--load"] if builder.buildx else ["build"]
    words += ["--tag", request.image]
    words += _arguments(request, packages, builder=builder, flags=flags, env=env, mount_ssh=mount_ssh)
    job.begin(f"building with {builder.name}")
    what = f"function {request.name}: {builder.name} could not build the image"
    _run(job, [builder.program, *words, str(context)], what, cwd=request.project, env=env)


def publish_image(
    request: BuildRequest,
    context: Path,
    packages: Sequence[str],
    *,
    builder: Builder,
    flags: ImageFlags,
    job: Job,
    env: Mapping[str, str],
    mount_ssh: bool = False,
) -> None:
    """Build `context` for all of `request.platforms` and push it under its names; none of them stays on this machine.

    Raises `BuildFailed`, and `Unsupported` where several platforms need buildx.
    """
    names = published_names(request.image, flags.extra_tag)
    words = _arguments(request, packages, builder=builder, flags=flags, env=env, mount_ssh=mount_ssh)
    if request.platforms:
        words += ["--platform", request.platforms]
    if builder.program == "docker" and not builder.buildx:
        raise Unsupported("publish needs docker's buildx plug-in", hint="install it, or use podman or buildah")
    job.begin(f"building with {builder.name}")
    cwd = request.project
    if builder.buildx:
        if "," in request.platforms:
            words += ["--builder", _multi_platform_builder(job, cwd=cwd, env=env)]
        words += [word for name in names for word in ("--tag", name)]
        what = f"function {request.name}: docker buildx could not publish the image"
        _run(job, ["docker", "buildx", "build", "--push", *words, str(context)], what, cwd=cwd, env=env)
        return
    # A list of that name would be added to, not replaced; and one that stays keeps some versions from listing images.
    forget = [builder.program, "manifest", "rm", request.image]
    output_of(forget, cwd=cwd, env=env)
    what = f"function {request.name}: {builder.name} could not build the image"
    try:
        _run(job, [builder.program, "build", "--manifest", request.image, *words, str(context)], what, cwd=cwd, env=env)
        for name in names:
            job.begin(f"pushing {name}")
            push = [builder.program, "manifest", "push", "--all", *_transport(name), request.image, f"docker://{name}"]
            _run(job, push, f"function {request.name}: {name} could not be pushed", cwd=cwd, env=env)
    finally:
        output_of(forget, cwd=cwd, env=env)


def published_names(image: str, extra_tag: str) -> list[str]:
    """The image's name, and the one with the further tag."""
    return [image, *([f"{split_tag(image)[0]}:{extra_tag}"] if extra_tag else [])]


def push_image(image: str, *, builder: Builder, job: Job, env: Mapping[str, str]) -> None:
    """Push an image that was built. Raises `BuildFailed`."""
    job.begin(f"pushing {image}")
    transport = [] if builder.program == "docker" else _transport(image)
    _run(job, [builder.program, "push", *transport, image], f"{image} could not be pushed", cwd=Path.cwd(), env=env)


def reset_qemu(*, builder: Builder, job: Job, env: Mapping[str, str]) -> None:
    """Register QEMU for foreign platforms with the kernel of docker's machine. Raises `BuildFailed` and `Unsupported`."""
    if builder.program != "docker":
        raise Unsupported(
            f"--reset-qemu is for docker, which brings QEMU in a container; the builder here is {builder.name}",
            hint="install QEMU on this machine instead: apt-get install qemu-user-static (Debian, Ubuntu)",
        )
    job.begin("registering QEMU")
    argv = ["docker", "run", "--rm", "--privileged", _QEMU, "--reset", "-p", "yes"]
    _run(job, argv, "QEMU could not be registered", cwd=Path("/"), env=env)


def build_arguments(request: BuildRequest, packages: Sequence[str], *, skip_tests: bool) -> dict[str, str]:
    """The arguments of the build, with the template's packages among them."""
    arguments = dict(request.build_args)
    if packages or "ADDITIONAL_PACKAGE" in arguments:
        given = arguments.get("ADDITIONAL_PACKAGE", "").split()
        arguments["ADDITIONAL_PACKAGE"] = " ".join(dict.fromkeys([*packages, *given]))
    if skip_tests:
        arguments["TEST_ENABLED"] = "false"
    return arguments


def has_registry(image: str) -> bool:
    """Whether an image's name says where it is kept, so that it can be pushed."""
    first, slash, _ = image.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def _arguments(
    request: BuildRequest,
    packages: Sequence[str],
    *,
    builder: Builder,
    flags: ImageFlags,
    env: Mapping[str, str],
    mount_ssh: bool,
) -> list[str]:
    arguments = build_arguments(request, packages, skip_tests=flags.skip_tests)
    for name in _PROXY_VARIABLES:
        if value := env.get(name) or env.get(name.upper()):
            arguments.setdefault(name, value)
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    words += [word for name, value in request.labels.items() for word in ("--label", f"{name}={value}")]
    for name, path in request.build_secrets.items():
        words += ["--secret", f"id={name},src={path.absolute()}"]
    if mount_ssh:
        words += ["--ssh", "default"]
    if flags.no_cache:
        words.append("--no-cache")
    elif builder.program == "buildah":
        words.append("--layers")  # The others cache by themselves.
    if flags.pull:
        words.append("--pull")
    if flags.squash:
        words.append("--squash")
    return words


def _transport(image: str) -> list[str]:
    """Registries on this machine's loopback need no TLS, as docker has it."""
    host = image.partition("/")[0]
    host = host.removeprefix("[").partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    return ["--tls-verify=false"] if loopback else []


def _multi_platform_builder(job: Job, *, cwd: Path, env: Mapping[str, str]) -> str:
    """A builder of buildx that can build for several platforms, made if it is not there: docker's own cannot.

    It shares this machine's network, so that it reaches registries on loopback. Raises `BuildFailed`.
    """
    if output_of(["docker", "buildx", "inspect", _BUILDX], cwd=cwd, env=env) is None:
        argv = ["docker", "buildx", "create", "--name", _BUILDX, "--driver", "docker-container"]
        what = "docker buildx could not make a builder for several platforms"
        _run(job, [*argv, "--driver-opt", "network=host"], what, cwd=cwd, env=env)
    return _BUILDX


def _run(job: Job, argv: Sequence[str], what: str, *, cwd: Path, env: Mapping[str, str]) -> None:
    """Raises `BuildFailed` with the sentence `what` when the program fails."""
    if job.run(argv, cwd=cwd, env=env) != 0:
        raise _failed(what, job, program=argv[0])


def _failed(what: str, job: Job, *, program: str) -> BuildFailed:
    said = "\n".join(job.tail()).lower()
    hint = ""
    if any(sign in said for sign in ("connection refused", "no such host", "i/o timeout", "timed out")):
        hint = "a registry cannot be reached; check the network and the image's name"
    elif any(sign in said for sign in ("unauthorized", "authentication required", "access denied", "denied:")):
        hint = f"log in to the registry first: {program} login REGISTRY"
    elif "short-name" in said or "unqualified-search" in said:
        hint = "this builder wants base images with their registry; set it with --build-arg BASE_IMAGE=..."
    elif "no space left on device" in said:
        hint = "the disk is full"
    return BuildFailed(what, hint=hint, log=job.tail())
