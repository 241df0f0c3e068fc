"""`build`: from a stack file's functions to bundles and images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from hilbert.cli.frame.flags import HERE, NO_FILE, Connection, Format, Namespace, StackFile, flag
from hilbert.cli.source.build_flags import AS_USUAL, BuildingFlags, Handler, Image, Lang, Name, Parallel, Shrinkwrap
from hilbert.cli.source.build_stack import build_stack, described_stack, in_namespace, shrinkwrap_stack
from hilbert.cli.source.bundle_or_image import choose
from hilbert.cli.terminal.document import write_document

if TYPE_CHECKING:
    pass

Output = Annotated[Format, flag("Output format.", "--output")]


def build(
    *,
    name: Name = "",
    lang: Lang = "",
    handler: Handler = "",
    image: Image = "",
    parallel: Parallel = 2,
    shrinkwrap: Shrinkwrap = False,
    namespace: Namespace = "",
    output: Output = "table",
    how: BuildingFlags = AS_USUAL,
    file: StackFile = NO_FILE,
    at: Connection = HERE,
) -> None:
    stack = described_stack(file, name=name, lang=lang, handler=handler, image=image)
    stack = in_namespace(stack, namespace)
    how = _quieter(how, output)
    how.to_build_flags()
    if shrinkwrap:
        outcomes = shrinkwrap_stack(stack, how, parallel=parallel)
    else:
        choice = choose(how, at, stack_gateway=stack.provider.gateway)
        outcomes = build_stack(stack, choice, how, parallel=parallel)
    if output != "table":
        write_document(outcomes, output)


def _quieter(how: BuildingFlags, output: Format) -> BuildingFlags:
    """Nothing but the document goes to standard output when one is asked for."""
    from msgspec.structs import replace

    return how if output == "table" else replace(how, quiet=True)
