"""`publish`: container images for one or more platforms, built and pushed here or by a remote builder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import NO_FILE, StackFile
from hilbert.cli.source.build_flags import (
    AS_USUAL,
    BuildingFlags,
    Handler,
    Image,
    Lang,
    Name,
    Parallel,
    Shrinkwrap,
    check_parallel,
)
from hilbert.cli.source.build_progress import run_builds
from hilbert.cli.source.build_stack import described_stack, image_work, pull_templates, requests_of, shrinkwrap_stack
from hilbert.cli.source.remote_builder import ONE_PLATFORM, PublishFlags, Remote, remote_work
from hilbert.core.environment import environment, inherited_environment

if TYPE_CHECKING:
    from hilbert.stack.file import Stack


def publish(
    *,
    name: Name = "",
    lang: Lang = "",
    handler: Handler = "",
    image: Image = "",
    parallel: Parallel = 2,
    shrinkwrap: Shrinkwrap = False,
    to: PublishFlags = ONE_PLATFORM,
    how: BuildingFlags = AS_USUAL,
    file: StackFile = NO_FILE,
) -> None:
    stack = described_stack(file, name=name, lang=lang, handler=handler, image=image)
    if shrinkwrap:
        shrinkwrap_stack(stack, how, parallel=parallel)
    else:
        publish_stack(stack, how, to, parallel=parallel)


def publish_stack(stack: Stack, how: BuildingFlags, to: PublishFlags, *, parallel: int) -> None:
    """Build and push the images of a stack. Raises `Failed` if any could not be published."""
    if how.bundle:
        raise UsageError("bundles stay on this machine; 'publish' is for container images")
    check_parallel(parallel)
    flags = how.to_build_flags(to.platforms)
    remote = Remote(to, environment())
    if remote.url and (how.builder or to.reset_qemu):
        raise UsageError(
            "--builder and --reset-qemu are for builds on this machine; they cannot be used with --remote-builder"
        )
    project = Path.cwd()
    pull_templates(stack, how, project=project)
    requests = requests_of(stack, flags, tag=how.tag, project=project)
    if not requests:
        raise Failed("the stack file has no function to build", hint="functions with skip_build are skipped")
    if remote.url:
        work = remote_work(flags, remote, extra_tag=to.extra_tag)
    else:
        if to.reset_qemu:
            _reset_qemu(how.builder)
        work = image_work(flags, builder=how.builder, publish=True, extra_tag=to.extra_tag)
    run_builds(requests, work, parallel=parallel, verb="Publishing", quiet=how.quiet, verbose=how.verbose)


def _reset_qemu(builder: str) -> None:
    from hilbert.builder.container import find_builder, reset_qemu
    from hilbert.builder.programs import Job

    env = inherited_environment()
    reset_qemu(builder=find_builder(env, wanted=builder), job=Job("qemu"), env=env)
