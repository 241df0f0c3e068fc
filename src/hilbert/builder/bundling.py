"""Building a bundle: template, handler and dependencies, checked and tested, into the image store."""

from __future__ import annotations

import py_compile
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from hilbert.builder.build_errors import BuildFailed, InvalidHandler, storage_faults
from hilbert.builder.build_request import BuildRequest, truthy
from hilbert.builder.contracts import wrong_handle
from hilbert.builder.dependencies import ALLOW_SCRIPTS, Dependencies, compile_tree, read_package
from hilbert.builder.image_store import Store
from hilbert.builder.layout import lay_out
from hilbert.builder.programs import Job
from hilbert.builder.python_tests import NO_TESTS_RUN
from hilbert.builder.templates import Located, find_bundle_template
from hilbert.builder.tree import copy_tree
from hilbert.core.bundle import ImageRecord, Manifest, Mode
from hilbert.stack.template import Recipe

_CONTRACTS = "python3-http calls handle(event, context), python3 and python3-flask call handle(req); choose one of them as 'lang'"


class BuiltBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle in the store."""

    record: ImageRecord
    path: Path
    manifest: Manifest
    changed: bool
    """Whether the image's name meant another bundle, or none, before."""
    seconds: float
    ignored: tuple[str, ...] = ()
    """Keys of the stack file that say something about container images only."""
    untested: str = ""
    """The files that should hold tests, where none of them does."""


def build_bundle(
    request: BuildRequest,
    *,
    store: Store,
    job: Job,
    env: Mapping[str, str],
    skip_tests: bool = False,
    fresh: bool = False,
) -> BuiltBundle:
    """Build one function and store it under its image name. The old bundle stays under that name until the new is whole.

    `fresh` installs dependencies anew. Raises `BuildFailed`, `InvalidHandler`, `InvalidTemplate`, `TemplateNotFound`,
    `StorageFull` and `Cancelled`.
    """
    began = time.monotonic()
    job.begin("laying out")
    located, recipe = find_bundle_template(request.lang, request.project)
    before = store.find(request.image, namespace=request.namespace)
    with store.building(), store.stage() as stage:
        content = stage / "bundle"
        content.mkdir(mode=0o755)
        handler = lay_out(request, located, content, bundle=True)
        code = recipe.code or recipe.handler
        if code and not (content / code).is_file():
            raise InvalidHandler(
                f"function {request.name}: the handler {_in_handler(code, located)} is not in {request.handler}",
                hint=f"template {located.name} runs that file",
            )
        if recipe.packages:
            read_package(content / recipe.packages)  # node would say less clearly what is wrong with it.
        _check(recipe, content, request, job, env)
        allow = truthy(request.build_args, ALLOW_SCRIPTS, default=False)
        dependencies = Dependencies(store, job, env, allow_scripts=allow, fresh=fresh)
        layers = (
            [dependencies.python([content / file for file in recipe.requirements], content)]
            if recipe.requirements
            else []
        )
        if recipe.packages:
            layers.append(dependencies.node(content / recipe.packages))
        layers = [layer for layer in layers if layer]
        untested = ""
        if not skip_tests and truthy(request.build_args, "TEST_ENABLED", default=True):
            untested = _test(recipe, content, handler, [store.layer_path(layer) for layer in layers], request, job, env)
        job.begin("storing")
        compile_tree(content)
        manifest = Manifest(
            mode=Mode(recipe.mode),
            process=recipe.process,
            handler=recipe.handler,
            env=recipe.environment,
            layers=tuple(layers),
            title=request.name,
        )
        record = store.put_bundle(content, manifest, request.image, namespace=request.namespace)
    return BuiltBundle(
        record=record,
        path=store.bundle_path(record.digest),
        manifest=manifest,
        changed=before is None or before.digest != record.digest,
        seconds=time.monotonic() - began,
        ignored=tuple(key for key in ("build_options", "build_secrets", "platforms") if getattr(request, key)),
        untested=untested,
    )


def _check(recipe: Recipe, content: Path, request: BuildRequest, job: Job, env: Mapping[str, str]) -> None:
    """Find mistakes of the handler's syntax, so that they never reach a replica."""
    job.begin("checking")
    code = recipe.code or recipe.handler
    if code.endswith(".py"):
        file = content / code
        try:
            py_compile.compile(str(file), cfile=str(content / ".check.pyc"), dfile=file.name, doraise=True)
        except py_compile.PyCompileError as exc:
            lines = [line for line in exc.msg.rstrip().splitlines() if line.strip()]
            raise BuildFailed(f"function {request.name}: {lines[-1].strip()}", log=lines) from exc
        finally:
            (content / ".check.pyc").unlink(missing_ok=True)
        reason = wrong_handle(file.read_bytes(), takes=len(recipe.takes))
        if reason:
            raise InvalidHandler(
                f"function {request.name}: {reason}, and template {request.lang} calls handle({', '.join(recipe.takes)})",
                hint=_CONTRACTS,
            )
    if recipe.check and job.run(_words(recipe.check), cwd=content, env=_tools(env)) != 0:
        raise BuildFailed(f"function {request.name} does not pass the check '{recipe.check}'", log=job.tail())


def _test(
    recipe: Recipe,
    content: Path,
    handler: Path,
    layers: list[Path],
    request: BuildRequest,
    job: Job,
    env: Mapping[str, str],
) -> str:
    """Gives the names of test files that hold no tests; empty where tests have passed, or there are no files."""
    command = request.build_args.get("TEST_COMMAND") or recipe.test
    files = sorted({file.name for pattern in recipe.tests for file in handler.rglob(pattern)})
    if not command or not files:
        return ""
    job.begin("testing")
    copy = content.with_name("test")
    with storage_faults("preparing the tests"):
        copy_tree(content, copy)  # What tests write must not become part of the bundle.
        (copy / handler.relative_to(content) / "__init__.py").touch()  # Tests are found in packages only.
    place = copy / handler.relative_to(content)
    status = job.run(_words(command), cwd=copy, env=_test_environment(recipe, copy, place, layers, env))
    if status == NO_TESTS_RUN:
        return ", ".join(files)
    if status != 0:
        end = f"were killed by signal {-status}" if status < 0 else f"fail, with status {status}"
        raise BuildFailed(
            f"function {request.name}: its tests {end}", hint="--skip-tests builds without them", log=job.tail()
        )
    return ""


def _test_environment(
    recipe: Recipe, content: Path, handler: Path, layers: list[Path], env: Mapping[str, str]
) -> dict[str, str]:
    """As much like a replica's as a folder that is not stored yet can be."""
    modules = ":".join([str(layer / "node_modules") for layer in layers if (layer / "node_modules").is_dir()])
    return {
        **_tools(env),
        **recipe.environment,
        "PYTHONPATH": ":".join(map(str, (content, handler, *layers))),
        "PYTHONDONTWRITEBYTECODE": "1",
        **({"NODE_PATH": modules} if modules else {}),
    }


def _tools(env: Mapping[str, str]) -> dict[str, str]:
    """The environment with this Python first: `python3` in a template's command means it."""
    return {**env, "PATH": f"{Path(sys.executable).parent}:{env.get('PATH', '/usr/local/bin:/usr/bin:/bin')}"}


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as exc:
        raise BuildFailed(f"the command {command!r} cannot be split into words: {exc}") from exc
    if not words:
        raise BuildFailed("a command is empty", hint="name a program")
    return words


def _in_handler(path: str, located: Located) -> str:
    return path.removeprefix(f"{located.template.handler_folder}/")
