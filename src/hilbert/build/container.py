"""Container images through the builder that is there: docker (with buildx), podman or buildah."""

from __future__ import annotations

import ipaddress
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from hilbert.build.errors import BuilderMissing, BuildFailed
from hilbert.build.job import Job, output_of
from hilbert.build.names import split_tag
from hilbert.build.request import BuildRequest
from hilbert.core.errors import Unsupported

Program = Literal["docker", "podman", "buildah"]

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
    argv = [builder.program, *(["buildx"] if builder.buildx else []), "build", "--tag", request.image]
    if builder.buildx:
        argv.append("--load")
    argv += _arguments(request, packages, builder=builder, flags=flags, env=env, mount_ssh=mount_ssh)
    job.begin(f"building with {builder.name}")
    if job.run([*argv, str(context)], cwd=request.project, env=env) != 0:
        raise _failed(f"function {request.name}: {builder.name} could not build the image", job)


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
    """Build `context` for all of `request.platforms` and push it under its names.

    Raises `BuildFailed`, and `Unsupported` where several platforms need buildx.
    """
    names = [request.image]
    if flags.extra_tag:
        names.append(f"{split_tag(request.image)[0]}:{flags.extra_tag}")
    arguments = _arguments(request, packages, builder=builder, flags=flags, env=env, mount_ssh=mount_ssh)
    if request.platforms:
        arguments += ["--platform", request.platforms]
    if builder.program == "docker" and not builder.buildx:
        raise Unsupported("publish needs docker's buildx plug-in", hint="install it, or use podman or buildah")
    job.begin(f"building with {builder.name}")
    if builder.buildx:
        tags = [word for name in names for word in ("--tag", name)]
        argv = ["docker", "buildx", "build", "--push", *tags, *arguments, str(context)]
        if job.run(argv, cwd=request.project, env=env) != 0:
            raise _failed(f"function {request.name}: docker buildx could not publish the image", job)
        return
    # A manifest list of that name would be added to, not replaced. Its absence is no failure.
    output_of([builder.program, "manifest", "rm", request.image], cwd=request.project, env=env)
    argv = [builder.program, "build", "--manifest", request.image, *arguments, str(context)]
    if job.run(argv, cwd=request.project, env=env) != 0:
        raise _failed(f"function {request.name}: {builder.name} could not build the image", job)
    for name in names:
        job.begin(f"pushing {name}")
        target = f"docker://{name}"
        argv = [builder.program, "manifest", "push", "--all", *_transport(name), request.image, target]
        if job.run(argv, cwd=request.project, env=env) != 0:
            raise _failed(f"function {request.name}: {name} could not be pushed", job)


def push_image(image: str, *, builder: Builder, job: Job, env: Mapping[str, str]) -> None:
    """Push an image that was built. Raises `BuildFailed`."""
    job.begin(f"pushing {image}")
    transport = [] if builder.program == "docker" else _transport(image)
    if job.run([builder.program, "push", *transport, image], cwd=Path.cwd(), env=env) != 0:
        raise _failed(f"{image} could not be pushed", job)


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
    arguments = dict(request.build_args)
    for name in _PROXY_VARIABLES:
        if value := env.get(name) or env.get(name.upper()):
            arguments.setdefault(name, value)
    if packages or "ADDITIONAL_PACKAGE" in arguments:
        given = arguments.get("ADDITIONAL_PACKAGE", "").split()
        arguments["ADDITIONAL_PACKAGE"] = " ".join(dict.fromkeys([*packages, *given]))
    if flags.skip_tests:
        arguments["TEST_ENABLED"] = "false"
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


def _failed(what: str, job: Job) -> BuildFailed:
    said = "\n".join(job.tail()).lower()
    hint = ""
    if any(sign in said for sign in ("connection refused", "no such host", "i/o timeout", "timed out")):
        hint = "a registry cannot be reached; check the network and the image's name"
    elif any(sign in said for sign in ("unauthorized", "authentication required", "access denied", "denied:")):
        hint = "log in to the registry first"
    elif "short-name" in said or "unqualified-search" in said:
        hint = "this builder wants base images with their registry; set it with --build-arg BASE_IMAGE=..."
    elif "no space left on device" in said:
        hint = "the disk is full"
    return BuildFailed(what, hint=hint, log=job.tail())
