"""`push`: container images to their registries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hilbert.cli.frame.failures import Failed
from hilbert.cli.frame.flags import NO_FILE, StackFile, flag
from hilbert.cli.source.build_flags import BuildingFlags, Parallel, check_parallel, tag_of
from hilbert.cli.source.build_progress import Board, Outcome, report, to_outcome
from hilbert.cli.source.build_stack import load_functions
from hilbert.cli.terminal.output import note
from hilbert.core.environment import inherited_environment

if TYPE_CHECKING:
    from hilbert.stack.file import Stack


def push(
    *,
    parallel: Parallel = 2,
    tag: Annotated[str, flag("Tag: latest, sha, branch, describe or digest.", "--tag")] = "latest",
    builder: Annotated[str, flag("Program that pushes the images: docker, podman or buildah.", "--builder")] = "",
    quiet: Annotated[bool, flag("Print only errors.", "--quiet", "-q")] = False,
    file: StackFile = NO_FILE,
) -> None:
    stack = load_functions(file)
    how = BuildingFlags(tag=tag, builder=builder)
    images = images_to_push(stack, how)
    if not images:
        raise Failed(
            "no function has an image to push",
            hint="to be pushed, an image must name its registry: registry.example.com/web:1.0",
        )
    push_images(images, builder=builder, parallel=parallel, quiet=quiet)


def images_to_push(stack: Stack, how: BuildingFlags) -> list[tuple[str, str]]:
    """Names and images of the functions whose image is built and says where it is kept. Raises `InvalidStack`."""
    from hilbert.builder.container import has_registry
    from hilbert.builder.image_names import check_image, tagged

    project, env = Path.cwd(), inherited_environment()
    found = []
    for name, function in stack.functions.items():
        if function.skip_build:
            continue
        given = check_image(function.image, function=name)
        image = tagged(given, tag_of(how.tag), handler=project / function.handler, project=project, env=env)
        if has_registry(image):
            found.append((name, image))
        else:
            note(f"Skipping push of: {name} ({image} does not name a registry).")
    return found


def push_images(
    images: Sequence[tuple[str, str]], *, builder: str, parallel: int, quiet: bool = False
) -> list[Outcome]:
    """Push images, each given with its function's name. Raises `Failed` if any could not be pushed."""
    from hilbert.builder.container import find_builder, push_image
    from hilbert.builder.many import run_all
    from hilbert.builder.programs import Job

    check_parallel(parallel)
    env = inherited_environment()
    found = find_builder(env, wanted=builder)
    by_name = dict(images)
    outcomes = []

    def work(job: Job) -> Outcome:
        began = time.monotonic()
        push_image(by_name[job.name], builder=found, job=job, env=env)
        return Outcome(name=job.name, image=by_name[job.name], kind="image", seconds=time.monotonic() - began)

    jobs = [Job(name) for name, _ in images]
    with Board(jobs, verb="Pushing", quiet=quiet) as board:
        results = run_all(jobs, work, parallel=parallel, on_end=board.end)
    outcomes = [to_outcome(result) for result in results]
    report(results, "pushed")
    return outcomes
