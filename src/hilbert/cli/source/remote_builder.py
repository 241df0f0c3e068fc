"""A Function Builder elsewhere that builds and pushes container images."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import FlagGroup, flag
from hilbert.cli.gateway.target import tracer
from hilbert.cli.source.build_progress import Outcome
from hilbert.cli.terminal.output import note
from hilbert.core.environment import environment

if TYPE_CHECKING:
    from hilbert.builder.build_request import BuildFlags, BuildRequest
    from hilbert.builder.programs import Job


class PublishFlags(FlagGroup, frozen=True, kw_only=True):
    """What to publish, and who builds it."""

    platforms: Annotated[str, flag("Platforms, e.g. linux/amd64,linux/arm64.", "--platforms")] = ""
    extra_tag: Annotated[str, flag("Additional tag for the same images.", "--extra-tag")] = ""
    reset_qemu: Annotated[bool, flag("Register QEMU for foreign platforms first (docker).", "--reset-qemu")] = False
    remote_builder: Annotated[str, flag("URL of a Function Builder that builds and pushes.", "--remote-builder")] = ""
    payload_secret: Annotated[str, flag("File with the secret shared with that builder.", "--payload-secret")] = ""
    builder_public_key: Annotated[
        str, flag("Public key of that builder, or a file with it; for build_secrets.", "--builder-public-key")
    ] = ""


ONE_PLATFORM: Final = PublishFlags()


class Remote:
    """A Function Builder, as flags or the environment name it."""

    def __init__(self, flags: PublishFlags, environ: Mapping[str, str]) -> None:
        """Raises `UsageError` for flags that need one, and `Failed` for a secret that cannot be read."""
        self.url = flags.remote_builder or environ.get("OPENFAAS_REMOTE_BUILDER", "")
        if not self.url and (flags.payload_secret or flags.builder_public_key):
            raise UsageError("--payload-secret and --builder-public-key need --remote-builder")
        secret = flags.payload_secret or environ.get("OPENFAAS_PAYLOAD_SECRET", "")
        self.secret = _read_text(secret).encode() if self.url and secret else b""
        self.public_key = flags.builder_public_key or environ.get("OPENFAAS_BUILDER_PUBLIC_KEY", "")
        if self.url and not self.secret:
            note("The request to the builder is not signed; use --payload-secret to sign it.")


def remote_work(flags: BuildFlags, remote: Remote, *, extra_tag: str) -> Callable[[Job, BuildRequest], Outcome]:
    """How one image is built and pushed by a remote builder."""
    from hilbert.builder.container import build_arguments, published_names
    from hilbert.builder.layout import lay_out_image
    from hilbert.builder.payload import BuilderConfig, write_payload
    from hilbert.builder.templates import find_template, packages_for

    def work(job: Job, request: BuildRequest) -> Outcome:
        began = time.monotonic()
        job.begin("laying out")
        located = find_template(request.lang, request.project)
        packages = packages_for(located, request.build_options)
        context = lay_out_image(request, located)
        sealed = _sealed(request, remote.public_key)
        for image in published_names(request.image, extra_tag):
            config = BuilderConfig(
                image=image,
                build_args=build_arguments(request, packages, skip_tests=flags.skip_tests),
                platforms=tuple(filter(None, request.platforms.split(","))),
            )
            with tempfile.TemporaryFile() as payload:
                write_payload(payload, context, config, sealed=sealed)
                job.begin(f"building {image} remotely")
                build_remotely(job, remote, payload, what=f"function {request.name}: the builder at {remote.url}")
        ignored = [
            name
            for name, given in (
                ("--no-cache", flags.no_cache),
                ("--pull", flags.pull),
                ("--squash", flags.squash),
                ("--build-label", bool(flags.labels)),
                ("mount_ssh of the template", located.template.mount_ssh),
            )
            if given
        ]
        return Outcome(
            name=request.name,
            image=request.image,
            kind="image",
            changed=True,
            seconds=time.monotonic() - began,
            notes=tuple(f"{name} has no effect with a remote builder" for name in ignored),
        )

    return work


def build_remotely(job: Job, remote: Remote, payload: IO[bytes], *, what: str) -> None:
    """Raises `BuildFailed`, and `Cancelled` with the job."""
    from hilbert.builder.build_errors import BuildFailed
    from hilbert.client.faults import GatewayTimeout, GatewayUnreachable
    from hilbert.client.function_builder import BuildResult, FunctionBuilder

    environ = environment()
    builder = FunctionBuilder(remote.url, secret=remote.secret, environ=environ, trace=tracer(environ))
    result = BuildResult()
    try:
        with job.stopped_by(builder.abort):
            for result in builder.build(payload):
                for line in result.log or ():
                    job.log(line.rstrip("\n"))
    except (GatewayUnreachable, GatewayTimeout) as exc:
        raise BuildFailed(
            f"{what} cannot be reached: {exc.message}",
            hint="check its URL, and that it can be reached from this machine",
        ) from exc
    finally:
        builder.close()
    if not result.succeeded:
        raise BuildFailed(f"{what} could not build the image: {result.error or result.status}", log=job.tail())


def _sealed(request: BuildRequest, public_key: str) -> bytes:
    """The build's secrets for the builder's eyes only; empty without any. Raises `Failed`."""
    if not request.build_secrets:
        return b""
    if not public_key:
        raise Failed(
            f"function {request.name} has build_secrets, which need the builder's public key",
            hint="give it with --builder-public-key; the builder serves it at /publickey",
        )
    from hilbert.cli.secret.sealed import seal_values

    key = _read_text(public_key) if Path(public_key).is_file() else public_key
    values = {name: path.read_bytes() for name, path in request.build_secrets.items()}
    return seal_values(values, key, where="--builder-public-key")


def _read_text(path: str) -> str:
    """A file without the white space around what it says. Raises `Failed`."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise Failed(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise Failed(f"{path} is not text") from exc
