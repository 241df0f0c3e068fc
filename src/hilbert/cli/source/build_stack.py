"""Building the functions of a stack, for every command that does: what to build, how it is shown, what came of it."""

from __future__ import annotations

import functools
import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import StackFile
from hilbert.cli.source.build_flags import BuildingFlags, check_parallel, tag_of
from hilbert.cli.source.build_progress import Outcome, run_builds
from hilbert.cli.source.bundle_or_image import Choice
from hilbert.cli.stack.file import load_stack_file
from hilbert.cli.terminal.output import note, out, warn
from hilbert.client import running
from hilbert.core.environment import environment, inherited_environment
from hilbert.core.errors import InvalidStack

if TYPE_CHECKING:
    from hilbert.builder.build_request import BuildFlags, BuildRequest
    from hilbert.builder.programs import Job
    from hilbert.stack.file import Stack


def store_path(environ: Mapping[str, str]) -> Path:
    """The image store of this machine's platform."""
    return running.state_dir(environ) / "images"


def in_namespace(stack: Stack, namespace: str) -> Stack:
    """The stack as a command with `--namespace` means it."""
    if not namespace:
        return stack
    moved = {name: msgspec.structs.replace(function, namespace=namespace) for name, function in stack.functions.items()}
    return msgspec.structs.replace(stack, functions=moved)


def pull_templates(stack: Stack, how: BuildingFlags, *, project: Path) -> None:
    """Pull templates that the stack's functions lack, where the stack file says from where. Raises what a pull raises."""
    from hilbert.builder.programs import Job
    from hilbert.builder.pull import pull_missing

    if how.disable_stack_pull:
        return
    for pulled in pull_missing(
        stack.functions,
        stack.configuration.templates,
        project,
        job=Job("template"),
        env=inherited_environment(),
        overwrite=how.overwrite,
    ):
        note(f"Wrote {len(pulled.written)} template(s) : [{' '.join(pulled.written)}] from {pulled.source}")


def requests_of(stack: Stack, flags: BuildFlags, *, tag: str, project: Path) -> list[BuildRequest]:
    """What is to be built, with the tags that `--tag` asks for. Raises `InvalidStack` and `InvalidHandler`."""
    from hilbert.builder.build_request import request_for
    from hilbert.builder.image_names import tagged

    requests = []
    env = inherited_environment()
    for name, function in stack.functions.items():
        if function.skip_build:
            continue
        request = request_for(name, function, stack, flags, project=project)
        image = tagged(request.image, tag_of(tag), handler=request.handler, project=project, env=env)
        requests.append(msgspec.structs.replace(request, image=image))
    return requests


def warn_of_line_ends(request: BuildRequest) -> None:
    """Say which scripts of a handler were saved with Windows line ends, and how to mend that."""
    from hilbert.builder.line_ends import scripts_with_crlf

    for path in scripts_with_crlf(request.handler):
        warn(
            f"{request.name}: {path} has Windows line ends (CRLF), which a shell does not understand; "
            f"mend it with: sed -i 's/\\r$//' {shlex.quote(str(request.handler / path))}"
        )


def watched_paths(request: BuildRequest) -> list[Path]:
    """What a function is made of: its handler, the project's extra paths, and its template if the project has it."""
    from hilbert.builder.templates import FOLDER, folder_name

    extra = [request.project / path for path in request.copies]
    return [request.handler, *extra, request.project / FOLDER / folder_name(request.lang)]


def build_stack(
    stack: Stack,
    choice: Choice,
    how: BuildingFlags,
    *,
    parallel: int,
    project: Path | None = None,
    shrinkwrap: bool = False,
) -> list[Outcome]:
    """Build every function of a stack, showing how it goes. Outcomes in the file's order. Raises `Failed` if any failed."""
    from hilbert.builder.templates import check_templates

    place = project or Path.cwd()
    flags = how.to_build_flags()
    check_parallel(parallel)
    pull_templates(stack, how, project=place)
    requests = requests_of(stack, flags, tag=how.tag, project=place)
    for name, function in stack.functions.items():
        if function.skip_build and not how.quiet:
            note(f"Skipping build of: {name}.")
    if not requests:
        return []
    check_templates([request.lang for request in requests], place)
    for request in requests:
        warn_of_line_ends(request)
    if not how.quiet:
        note(f"Building {'container images' if choice.kind == 'image' else 'bundles'}: {choice.reason}.")
    work = image_work(flags, builder=how.builder, shrinkwrap=True) if shrinkwrap else work_for(choice, flags, how)
    return run_builds(requests, work, parallel=parallel, verb="Building", quiet=how.quiet, verbose=how.verbose)


def shrinkwrap_stack(stack: Stack, how: BuildingFlags, *, parallel: int) -> list[Outcome]:
    """Write what image builds would be made from to `./build/NAME`. Raises `UsageError`, and `Failed` if any failed."""
    if how.bundle:
        raise UsageError("--shrinkwrap is for container images, not for bundles")
    choice = Choice("image", "requested with --shrinkwrap")
    outcomes = build_stack(stack, choice, how, parallel=parallel, shrinkwrap=True)
    for outcome in outcomes if not how.quiet else ():
        out(f"{outcome.name} shrink-wrapped to ./build/{outcome.name}")
    return outcomes


def work_for(choice: Choice, flags: BuildFlags, how: BuildingFlags) -> Callable[[Job, BuildRequest], Outcome]:
    """How one function is built: as was chosen, and as an image where its template makes no bundle and this machine runs it."""
    from hilbert.builder.templates import makes_bundles

    image = functools.cache(lambda: image_work(flags, builder=how.builder, here=choice.here))
    if choice.kind == "image":
        return image()
    bundle = bundle_work(flags)
    if not choice.here:
        return bundle

    def work(job: Job, request: BuildRequest) -> Outcome:
        return (bundle if makes_bundles(request.lang, request.project) else image())(job, request)

    return work


def bundle_work(flags: BuildFlags) -> Callable[[Job, BuildRequest], Outcome]:
    """How one bundle is built."""
    from hilbert.builder.bundling import build_bundle
    from hilbert.builder.image_store import Store

    store = Store(store_path(environment()))

    def work(job: Job, request: BuildRequest) -> Outcome:
        built = build_bundle(
            request,
            store=store,
            job=job,
            env=inherited_environment(),
            skip_tests=flags.skip_tests,
            fresh=flags.no_cache,
        )
        return Outcome(
            name=request.name,
            image=built.record.image,
            kind="bundle",
            digest=built.record.digest,
            changed=built.changed,
            seconds=built.seconds,
            notes=(
                *(f"{key} has no effect on bundles, only on container images" for key in built.ignored),
                *(
                    [f"no tests were found in {built.untested}; tests are functions named test_*"]
                    if built.untested
                    else []
                ),
            ),
        )

    return work


def image_work(
    flags: BuildFlags,
    *,
    builder: str,
    shrinkwrap: bool = False,
    publish: bool = False,
    extra_tag: str = "",
    here: bool = False,
) -> Callable[[Job, BuildRequest], Outcome]:
    """How one container image is built, or laid out only, or built and pushed; `here`: into the store of this machine, too.

    Raises `BuilderMissing`.
    """
    from hilbert.builder.container import ImageFlags, build_image, find_builder, publish_image
    from hilbert.builder.layout import lay_out_image
    from hilbert.builder.templates import find_template, packages_for

    env = inherited_environment()
    found = None if shrinkwrap else find_builder(env, wanted=builder)
    image_flags = ImageFlags(
        no_cache=flags.no_cache,
        squash=flags.squash,
        pull=flags.pull,
        skip_tests=flags.skip_tests,
        extra_tag=extra_tag,
    )

    def work(job: Job, request: BuildRequest) -> Outcome:
        began = time.monotonic()
        job.begin("laying out")
        located = find_template(request.lang, request.project)
        packages = packages_for(located, request.build_options)
        context = lay_out_image(request, located)
        if found is not None:
            run = publish_image if publish else build_image
            run(
                request,
                context,
                packages,
                builder=found,
                flags=image_flags,
                job=job,
                env=env,
                mount_ssh=located.template.mount_ssh,
            )
        digest, changed = "", True
        if found is not None and here:
            from hilbert.builder.image_store import Store
            from hilbert.builder.local_images import keep_image
            from hilbert.cli.image.containers import open_store

            bundles = Store(store_path(environment()))
            digest, changed = keep_image(request, builder=found, images=open_store(), bundles=bundles, job=job, env=env)
        return Outcome(
            name=request.name,
            image="" if shrinkwrap else request.image,
            kind="folder" if shrinkwrap else "image",
            digest=digest,
            changed=changed,
            seconds=time.monotonic() - began,
        )

    return work


def stack_of_one(*, name: str, lang: str, handler: str, image: str) -> Stack:
    """A stack made of flags. Raises `UsageError`."""
    from hilbert.stack.file import Stack, StackFunction, parse_stack

    if not (name and lang and handler and image):
        raise UsageError("without a stack file, --name, --lang, --handler and --image are all required")
    try:
        parse_stack(f"functions: {{{name}: {{}}}}")
    except InvalidStack as exc:
        raise UsageError(f"--name {name}: not a valid function name", hint=exc.hint) from exc
    return Stack(functions={name: StackFunction(lang=lang, handler=handler, image=image)})


def described_stack(file: StackFile, *, name: str, lang: str, handler: str, image: str) -> Stack:
    """The function that flags describe, or the stack file that is meant. Raises `UsageError` and `Failed`."""
    if name or lang or handler or image:
        if file.yaml:
            raise UsageError("use either --yaml or --name, --lang, --handler and --image, not both")
        return stack_of_one(name=name, lang=lang, handler=handler, image=image)
    return load_functions(file)


def load_functions(file: StackFile) -> Stack:
    """The stack file that is meant. Raises `Failed` when it has no functions."""
    stack = load_stack_file(file)
    for warning in stack.warnings:
        warn(warning)
    if not stack.functions:
        raise Failed(f"{stack.source} has no functions", hint="add one with 'hilbert new NAME --lang python3-http'")
    return stack
