"""Laying out a build: the template's files, the handler in its place, the project's extra paths."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

from hilbert.builder.build_errors import InvalidHandler, storage_faults
from hilbert.builder.build_request import BuildRequest
from hilbert.builder.templates import DOCKERFILE, FOLDER, Located, split_lang
from hilbert.builder.tree import NEVER_COPIED, copy_tree, remove_tree

BUILD: Final = "build"
"""Folder of laid out image builds in a project, as in OpenFaaS."""

_OF_THE_TEMPLATE: Final = frozenset({"template.yml", "meta.json", "README.md"})
_NOT_IN_BUNDLES: Final = frozenset({"Dockerfile", ".dockerignore", "node_modules"})


def lay_out(request: BuildRequest, located: Located, target: Path, *, bundle: bool) -> Path:
    """Fill the empty folder `target`; the folder of the handler in it.

    A bundle gets neither Dockerfiles nor `node_modules`: its dependencies are layers. Raises `InvalidHandler` and
    `StorageFull`; what is in `target` then is of no use.
    """
    own_dockerfile = split_lang(request.lang)[0].lower() == DOCKERFILE
    skip = NEVER_COPIED | _NOT_IN_BUNDLES if bundle else NEVER_COPIED
    inner = "" if own_dockerfile else located.template.handler_folder
    with storage_faults(f"laying out {request.name}"):
        if not own_dockerfile:
            for folder in located.folders:
                copy_tree(folder, target, skip=skip, top={*_OF_THE_TEMPLATE, inner.partition("/")[0]})
        place = target / inner
        copy_tree(request.handler, place, skip=skip, top={BUILD, FOLDER})
        for path in request.copies:
            _copy_path(request.project / path, place / path, skip=skip)
    return place


def lay_out_image(request: BuildRequest, located: Located) -> Path:
    """Lay out an image build in `./build/NAME`, replacing what was there as a whole. Raises as `lay_out`."""
    home = request.project / BUILD
    part, place = home / f".{request.name}.part", home / request.name
    with storage_faults(f"laying out {request.name}"):
        home.mkdir(exist_ok=True)
        remove_tree(part)
        try:
            part.mkdir(mode=0o755)
            lay_out(request, located, part, bundle=False)
            if located.template.watchdog:
                _add_watchdog(part / "watchdog")
            remove_tree(place)
            part.rename(place)
        finally:
            remove_tree(part)
    if not (place / "Dockerfile").is_file():
        raise InvalidHandler(
            f"function {request.name}: there is no Dockerfile in {place.relative_to(request.project)}",
            hint="write one into the handler's folder"
            if split_lang(request.lang)[0].lower() == DOCKERFILE
            else f"template {located.name} has none",
        )
    return place


def _copy_path(source: Path, target: Path, *, skip: Collection[str]) -> None:
    if source.is_dir():
        copy_tree(source, target, skip=skip)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if source.stat().st_mode & 0o111 else 0o644)


def _add_watchdog(target: Path) -> None:
    """Hilbert's watchdog, as the Dockerfile installs it: the packages that it stands on, their requirements, and what runs tests."""
    import importlib.metadata

    import hilbert

    package = Path(hilbert.__file__).parent
    for name in ("core", "kit", "watchdog"):
        copy_tree(package / name, target / "hilbert" / name)
    (target / "hilbert" / "builder").mkdir()
    for file in ("__init__.py", "builder/__init__.py", "builder/python_tests.py"):
        shutil.copyfile(package / file, target / "hilbert" / file)
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in ("httptools", "msgspec", "structlog", "uvloop")]
    (target / "requirements.txt").write_text("\n".join(pins) + "\n", encoding="ascii")
