"""How to build, as flags that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal, get_args

from cyclopts import Parameter

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import flag
from hilbert.cli.frame.parsing import pairs

if TYPE_CHECKING:
    from hilbert.builder.request import BuildFlags


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
