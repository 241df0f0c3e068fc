"""Building the functions of a stack, for every command that does: what to build, how it is shown, what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from cyclopts import Parameter

from hilbert.cli import local
from hilbert.cli.board import Board, Outcome, report, run_builds, to_outcome
from hilbert.cli.deploy import tag_of
from hilbert.cli.failures import Failed, UsageError
from hilbert.cli.options import Connection, flag
from hilbert.cli.target import find_auth, resolve
from hilbert.cli.terminal import note
from hilbert.cli.values import pairs
from hilbert.core.errors import InvalidStack
from hilbert.core.settings import environment, inherited_environment

if TYPE_CHECKING:
    from hilbert.builder.job import Job
    from hilbert.builder.request import BuildFlags, BuildRequest
    from hilbert.stack.file import Stack

Kind = Literal["bundle", "image"]

_PROCESS: Final = "process"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BuildingFlags:
    """How to build, for every command that does."""

    bundle: Annotated[bool, flag("Build bundles for the process runtime.", "--bundle")] = False
    image_build: Annotated[bool, flag("Build container images.", "--image-build")] = False
    builder: Annotated[str, flag("Image builder: docker, podman or buildah.", "--builder")] = ""
    no_cache: Annotated[bool, flag("Build everything anew, dependencies too.", "--no-cache")] = False
    skip_tests: Annotated[bool, flag("Do not run the handlers' tests.", "--skip-tests")] = False
    pull: Annotated[bool, flag("Ask registries for newer base images.", "--pull")] = False
    squash: Annotated[bool, flag("Make one layer of an image's layers.", "--squash")] = False
    build_arg: Annotated[tuple[str, ...], flag("Build argument KEY=VALUE; repeatable.", "--build-arg", "-b")] = ()
    build_option: Annotated[tuple[str, ...], flag("Template's build option; repeatable.", "--build-option", "-o")] = ()
    build_label: Annotated[tuple[str, ...], flag("Label KEY=VALUE of the image; repeatable.", "--build-label")] = ()
    copy_extra: Annotated[tuple[str, ...], flag("Path of the project to build in; repeatable.", "--copy-extra")] = ()
    tag: Annotated[str, flag("Tag: latest, sha, branch, describe or digest.", "--tag")] = "latest"
    overwrite: Annotated[bool, flag("Pull the stack file's templates again, over those here.", "--overwrite")] = False
    disable_stack_pull: Annotated[bool, flag("Do not pull templates.", "--disable-stack-pull")] = False
    quiet: Annotated[bool, flag("Say nothing but what went wrong.", "--quiet", "-q")] = False
    verbose: Annotated[bool, flag("Show what builds write as it comes.", "--verbose", "-v", "--debug")] = False

    def to_build_flags(self, platforms: str = "") -> BuildFlags:
        """Raises `UsageError`."""
        from hilbert.builder.request import BuildFlags

        if self.overwrite and self.disable_stack_pull:
            raise UsageError("--overwrite pulls the stack file's templates, --disable-stack-pull does not")
        if self.bundle and self.image_build:
            raise UsageError("--bundle and --image-build exclude each other")
        tag_of(self.tag)
        if self.builder not in ("", "docker", "podman", "buildah"):
            raise UsageError(f"--builder {self.builder}: must be docker, podman or buildah")
        return BuildFlags(
            no_cache=self.no_cache,
            skip_tests=self.skip_tests,
            pull=self.pull,
            squash=self.squash,
            build_args=pairs(self.build_arg, "--build-arg"),
            build_options=self.build_option,
            labels=pairs(self.build_label, "--build-label"),
            copies=self.copy_extra,
            platforms=platforms,
        )


AS_USUAL: Final = BuildingFlags()


class Choice(msgspec.Struct, frozen=True):
    """Bundles or images, and why."""

    kind: Kind
    reason: str


def choose(how: BuildingFlags, at: Connection, *, stack_gateway: str) -> Choice:
    """Bundle or image: what flags say, else what the gateway's provider runs. Raises what the gateway's answer raises.

    Where no gateway answers, bundles: they are what the platform of this machine runs.
    """
    if how.bundle or how.image_build:
        kind: Kind = "bundle" if how.bundle else "image"
        return Choice(kind, f"asked for with --{'bundle' if how.bundle else 'image-build'}")
    from hilbert.client.faults import GatewayTimeout, GatewayUnreachable
    from hilbert.client.sync import Client
    from hilbert.client.url import is_loopback, parse_url

    environ = environment()
    target = resolve(at.gateway, stack=stack_gateway, environ=environ)
    auth = find_auth(target.url, token=at.token, environ=environ)
    try:
        with Client(target.url, auth=auth, timeout=5.0, verify=not at.tls_no_verify) as client:
            provider = client.info().provider.orchestration
    except (GatewayUnreachable, GatewayTimeout):
        if not is_loopback(parse_url(target.url)):
            raise
        return Choice("bundle", f"no gateway answers at {target.url}; bundles are what this machine's own would run")
    if provider != _PROCESS:
        return Choice("image", f"{target.url} runs functions with the provider {provider}")
    if not is_loopback(parse_url(target.url)):
        raise Failed(
            f"the gateway {target.url} runs functions as processes of its own machine, which cannot see what is built here",
            hint="build and deploy on that machine, or choose with --bundle or --image-build",
        )
    return Choice("bundle", f"{target.url} runs functions as processes")


def store_path(environ: Mapping[str, str]) -> Path:
    """The image store of this machine's platform."""
    return local.state_dir(environ) / "images"


def pull_templates(stack: Stack, how: BuildingFlags, *, project: Path) -> None:
    """Pull templates that the stack's functions lack, where the stack file says from where. Raises what a pull raises."""
    from hilbert.builder.job import Job
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
    from hilbert.builder.names import tagged
    from hilbert.builder.request import request_for

    requests = []
    env = inherited_environment()
    for name, function in stack.functions.items():
        if function.skip_build:
            continue
        request = request_for(name, function, stack, flags, project=project)
        image = tagged(request.image, tag_of(tag), handler=request.handler, project=project, env=env)
        requests.append(msgspec.structs.replace(request, image=image))
    return requests


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
    if not how.quiet:
        note(f"Building {'container images' if choice.kind == 'image' else 'bundles'}: {choice.reason}.")
    if choice.kind == "bundle" and not shrinkwrap:
        work = bundle_work(flags)
    else:
        work = image_work(flags, builder=how.builder, shrinkwrap=shrinkwrap)
    return run_builds(requests, work, parallel=parallel, verb="Building", quiet=how.quiet, verbose=how.verbose)


def bundle_work(flags: BuildFlags) -> Callable[[Job, BuildRequest], Outcome]:
    """How one bundle is built."""
    from hilbert.builder.bundle import build_bundle
    from hilbert.builder.store import Store

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
            notes=tuple(f"{key} has no effect on a bundle, only on container images" for key in built.ignored),
        )

    return work


def image_work(
    flags: BuildFlags, *, builder: str, shrinkwrap: bool = False, publish: bool = False, extra_tag: str = ""
) -> Callable[[Job, BuildRequest], Outcome]:
    """How one container image is built, or laid out only, or built and pushed. Raises `BuilderMissing`."""
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
        return Outcome(
            name=request.name,
            image="" if shrinkwrap else request.image,
            kind="folder" if shrinkwrap else "image",
            changed=True,
            seconds=time.monotonic() - began,
        )

    return work


def push_images(
    images: Sequence[tuple[str, str]], *, builder: str, parallel: int, quiet: bool = False
) -> list[Outcome]:
    """Push images, each given with its function's name. Raises `Failed` if any could not be pushed."""
    from hilbert.builder.container import find_builder, push_image
    from hilbert.builder.job import Job
    from hilbert.builder.many import run_all

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


def check_parallel(parallel: int) -> None:
    """`--parallel`'s value. Raises `UsageError`."""
    if not 1 <= parallel <= 64:
        raise UsageError(f"--parallel {parallel}: must be from 1 to 64")


def stack_of_one(*, name: str, lang: str, handler: str, image: str) -> Stack:
    """A stack made of flags. Raises `UsageError`."""
    from hilbert.stack.file import Stack, StackFunction, parse_stack

    if not (name and lang and handler and image):
        raise UsageError("without a stack file, --name, --lang, --handler and --image are all needed")
    try:
        parse_stack(f"functions: {{{name}: {{}}}}")
    except InvalidStack as exc:
        raise UsageError(f"--name {name}: not a name for a function", hint=exc.hint) from exc
    return Stack(functions={name: StackFunction(lang=lang, handler=handler, image=image)})
