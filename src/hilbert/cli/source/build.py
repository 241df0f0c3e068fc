"""`build`: from a stack file's functions to bundles and images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import HERE, NO_FILE, Connection, Format, StackFile, flag
from hilbert.cli.source.build_flags import AS_USUAL, BuildingFlags
from hilbert.cli.source.build_stack import build_stack, described_stack
from hilbert.cli.source.bundle_or_image import choose
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import out

if TYPE_CHECKING:
    pass

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
        write_document(outcomes, output)
    elif shrinkwrap:
        for outcome in outcomes:
            out(f"{outcome.name} shrink-wrapped to ./build/{outcome.name}")


def _quieter(how: BuildingFlags, output: Format) -> BuildingFlags:
    """Nothing but the document goes to standard output when one is asked for."""
    from dataclasses import replace

    return how if output == "table" else replace(how, quiet=True)


def _forced(how: BuildingFlags) -> BuildingFlags:
    from dataclasses import replace

    return replace(how, image_build=True)
