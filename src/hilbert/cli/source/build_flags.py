"""How to build, as flags that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, get_args

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import FlagGroup, flag
from hilbert.cli.frame.parsing import pairs

if TYPE_CHECKING:
    from hilbert.builder.build_request import BuildFlags


class BuildingFlags(FlagGroup, frozen=True, kw_only=True):
    """How to build, for every command that does."""

    bundle: Annotated[bool, flag("Build bundles for the process runtime.", "--bundle")] = False
    image_build: Annotated[bool, flag("Build container images.", "--image-build")] = False
    builder: Annotated[str, flag("Image builder: docker, podman or buildah.", "--builder")] = ""
    no_cache: Annotated[bool, flag("Build everything from scratch, including dependencies.", "--no-cache")] = False
    skip_tests: Annotated[bool, flag("Do not run the handlers' tests.", "--skip-tests")] = False
    pull: Annotated[bool, flag("Check registries for newer base images.", "--pull")] = False
    squash: Annotated[bool, flag("Squash the image into one layer.", "--squash")] = False
    build_arg: Annotated[tuple[str, ...], flag("Build argument KEY=VALUE; repeatable.", "--build-arg", "-b")] = ()
    build_option: Annotated[
        tuple[str, ...], flag("Build option of the template; repeatable.", "--build-option", "-o")
    ] = ()
    build_label: Annotated[tuple[str, ...], flag("Image label KEY=VALUE; repeatable.", "--build-label")] = ()
    copy_extra: Annotated[
        tuple[str, ...], flag("Extra path of the project to include; repeatable.", "--copy-extra")
    ] = ()
    shared: Annotated[bool, flag("Let every namespace of this machine deploy the bundles.", "--shared")] = False
    tag: Annotated[str, flag("Tag: latest, sha, branch, describe or digest.", "--tag")] = "latest"
    overwrite: Annotated[bool, flag("Pull the stack file's templates again, replacing local ones.", "--overwrite")] = (
        False
    )
    disable_stack_pull: Annotated[bool, flag("Do not pull templates.", "--disable-stack-pull")] = False
    quiet: Annotated[bool, flag("Print only errors.", "--quiet", "-q")] = False
    verbose: Annotated[bool, flag("Show the output of builds as it is written.", "--verbose", "-v", "--debug")] = False

    def to_build_flags(self, platforms: str = "") -> BuildFlags:
        """Raises `UsageError`."""
        from hilbert.builder.build_request import BuildFlags
        from hilbert.core import settings

        if self.overwrite and self.disable_stack_pull:
            raise UsageError("use either --overwrite or --disable-stack-pull, not both")
        if self.bundle and self.image_build:
            raise UsageError("use either --bundle or --image-build, not both")
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
            shared=self.shared,
            default_namespace=settings.load().settings.provider.default_namespace,
        )


Shrinkwrap = Annotated[bool, flag("Only write ./build/NAME, ready for an image build.", "--shrinkwrap")]

AS_USUAL: Final = BuildingFlags()


def check_parallel(parallel: int) -> None:
    """`--parallel`'s value. Raises `UsageError`."""
    if not 1 <= parallel <= 64:
        raise UsageError(f"--parallel {parallel}: must be from 1 to 64")


Tag = Literal["latest", "sha", "branch", "describe", "digest"]


def tag_of(text: str) -> Tag:
    """`--tag`'s value. Raises `UsageError`."""
    for form in get_args(Tag):
        if text == form:
            return form  # type: ignore[no-any-return]  # get_args forgets the type
    raise UsageError(f"--tag {text}: must be one of {', '.join(get_args(Tag))}")


Parallel = Annotated[int, flag("Number of functions to build at once.", "--parallel")]


Name = Annotated[str, flag("Without a stack file: the function's name.", "--name")]


Lang = Annotated[str, flag("Without a stack file: the template.", "--lang")]


Handler = Annotated[str, flag("Without a stack file: the handler's folder.", "--handler")]


Image = Annotated[str, flag("Without a stack file: the image to build.", "--image")]
