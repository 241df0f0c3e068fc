"""`build` and `push`: from a stack file's functions to bundles and images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hilbert.cli import shapes, stackfile
from hilbert.cli.building import (
    AS_USUAL,
    BuildingFlags,
    build_stack,
    choose,
    push_images,
    stack_of_one,
)
from hilbert.cli.deploy import tag_of
from hilbert.cli.failures import Failed, UsageError
from hilbert.cli.options import HERE, NO_FILE, Connection, Format, StackFile, flag
from hilbert.cli.terminal import note, out, warn
from hilbert.core.settings import inherited_environment

if TYPE_CHECKING:
    from hilbert.stack.file import Stack

Parallel = Annotated[int, flag("Functions at once.", "--parallel")]
Output = Annotated[Format, flag("Form of the output.", "--output")]
Name = Annotated[str, flag("Without a stack file: the function's name.", "--name")]
Lang = Annotated[str, flag("Without a stack file: the template.", "--lang")]
Handler = Annotated[str, flag("Without a stack file: the handler's folder.", "--handler")]
Image = Annotated[str, flag("Without a stack file: the image to build.", "--image")]


def build(
    *,
    name: Name = "",
    lang: Lang = "",
    handler: Handler = "",
    image: Image = "",
    parallel: Parallel = 2,
    shrinkwrap: Annotated[bool, flag("Write ./build/NAME for an image build, and no more.", "--shrinkwrap")] = False,
    output: Output = "table",
    how: BuildingFlags = AS_USUAL,
    file: StackFile = NO_FILE,
    at: Connection = HERE,
) -> None:
    stack = described_stack(file, name=name, lang=lang, handler=handler, image=image)
    how = _quieter(how, output)
    how.to_build_flags()
    if shrinkwrap and how.bundle:
        raise UsageError("--shrinkwrap lays out container images, not bundles")
    choice = choose(_forced(how) if shrinkwrap else how, at, stack_gateway=stack.provider.gateway)
    outcomes = build_stack(stack, choice, how, parallel=parallel, shrinkwrap=shrinkwrap)
    if output != "table":
        shapes.write(outcomes, output)
    elif shrinkwrap:
        for outcome in outcomes:
            out(f"{outcome.name} shrink-wrapped to ./build/{outcome.name}")


def push(
    *,
    parallel: Parallel = 2,
    tag: Annotated[str, flag("Tag: latest, sha, branch, describe or digest.", "--tag")] = "latest",
    builder: Annotated[str, flag("Program that pushes: docker, podman or buildah.", "--builder")] = "",
    quiet: Annotated[bool, flag("Say nothing but what went wrong.", "--quiet", "-q")] = False,
    file: StackFile = NO_FILE,
) -> None:
    stack = load_functions(file)
    how = BuildingFlags(tag=tag, builder=builder)
    images = images_to_push(stack, how)
    if not images:
        raise Failed(
            "no function has an image to push", hint="an image to push names its registry: registry.example.com/web:1.0"
        )
    push_images(images, builder=builder, parallel=parallel, quiet=quiet)


def images_to_push(stack: Stack, how: BuildingFlags) -> list[tuple[str, str]]:
    """Names and images of the functions whose image is built and says where it is kept. Raises `InvalidStack`."""
    from hilbert.builder.container import has_registry
    from hilbert.builder.names import check_image, tagged

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
            note(f"Skipping push of: {name}, {image} names no registry.")
    return found


def described_stack(file: StackFile, *, name: str, lang: str, handler: str, image: str) -> Stack:
    """The function that flags describe, or the stack file that is meant. Raises `UsageError` and `Failed`."""
    if name or lang or handler or image:
        if file.yaml:
            raise UsageError("--yaml and a function described by flags exclude each other")
        return stack_of_one(name=name, lang=lang, handler=handler, image=image)
    return load_functions(file)


def load_functions(file: StackFile) -> Stack:
    """The stack file that is meant. Raises `Failed` when it has no functions."""
    stack = stackfile.load(file)
    for warning in stack.warnings:
        warn(warning)
    if not stack.functions:
        raise Failed(f"{stack.source} has no functions", hint="add one with 'hilbert new NAME --lang python3-http'")
    return stack


def _quieter(how: BuildingFlags, output: Format) -> BuildingFlags:
    """Nothing but the document goes to standard output when one is asked for."""
    from dataclasses import replace

    return how if output == "table" else replace(how, quiet=True)


def _forced(how: BuildingFlags) -> BuildingFlags:
    from dataclasses import replace

    return replace(how, image_build=True)
