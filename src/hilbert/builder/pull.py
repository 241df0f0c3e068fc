"""Pulling templates into a project: from git, or from a folder; each whole or not at all."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from hilbert.builder.build_errors import InvalidHandler, InvalidTemplate, TemplateNotFound, storage_faults
from hilbert.builder.git import check_source, clone, is_repository, split_ref
from hilbert.builder.programs import Job
from hilbert.builder.templates import (
    FOLDER,
    check_templates,
    find_in_store,
    find_template,
    folder_name,
    shipped_store,
    split_lang,
)
from hilbert.builder.tree import check_tree, copy_tree, remove_tree
from hilbert.core.errors import HilbertError, NotFound
from hilbert.stack.document import read_document
from hilbert.stack.file import StackFunction, TemplateSource
from hilbert.stack.template import Origin, StoreTemplate, parse_template


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """What a pull brought."""

    source: str
    written: tuple[str, ...]
    """Names of the templates that are in the project now."""
    kept: tuple[str, ...]
    """Templates that were there already and were not overwritten."""


def pull(
    source: str,
    project: Path,
    *,
    job: Job,
    env: Mapping[str, str],
    only: str = "",
    overwrite: bool = True,
) -> Pulled:
    """Bring the templates at `source` (`URL-OR-FOLDER[#VERSION]`) to `./template`.

    With `only` (`NAME[@VERSION]`), that one alone, kept under that name. All are checked before the first is written;
    each is put in place by a rename. Raises `InvalidTemplate`, `TemplateNotFound`, `BuildFailed` and `StorageFull`.
    """
    wanted, version = split_lang(only) if only else ("", "")
    url, ref = split_ref(source)
    ref = version or ref
    place = check_source(url)
    with tempfile.TemporaryDirectory(prefix="hilbert-template-") as scratch:
        folder, sha = Path(scratch) / "clone", ""
        if Path(place).is_dir() and not is_repository(Path(place)):
            if ref:
                raise InvalidTemplate(f"{url} is a plain folder and has no version {ref}")
            folder = Path(place)
        else:
            sha = clone(place, ref, folder, job=job, env=env)
        origin = Origin(repository=url, ref_name=ref, sha=sha, written_at=datetime.now(UTC).replace(microsecond=0))
        found = _templates_in(folder, url)
        if wanted:
            if wanted not in found:
                raise TemplateNotFound(f"{url} has no template {wanted}", hint=f"it has {', '.join(sorted(found))}")
            found = {folder_name(only): found[wanted]}
        return _install(found, project / FOLDER, origin, source=source, overwrite=overwrite)


def pull_missing(
    functions: Mapping[str, StackFunction],
    sources: Sequence[TemplateSource],
    project: Path,
    *,
    job: Job,
    env: Mapping[str, str],
    overwrite: bool = False,
) -> list[Pulled]:
    """Pull the templates that functions need, that are not here, and for which the stack file names a source.

    With `overwrite`, those that are here too. A source without a URL is looked up in the shipped template store. Raises
    what `pull` raises.
    """
    by_name = {source.name: source for source in sources}
    pulled = []
    langs = dict.fromkeys(function.lang for function in functions.values() if function.lang and not function.skip_build)
    # All that lack and cannot be pulled, in one answer.
    check_templates([lang for lang in langs if not {lang, split_lang(lang)[0]} & by_name.keys()], project)
    for lang in langs:
        name, _ = split_lang(lang)
        source = by_name.get(lang) or by_name.get(name)
        if source is None or not overwrite:
            try:
                find_template(lang, project)
                continue
            except TemplateNotFound:
                if source is None:
                    raise
        pulled.append(pull(source.source or in_store(name).repo, project, job=job, env=env, only=lang, overwrite=True))
    return pulled


def pull_configured(
    sources: Sequence[TemplateSource], project: Path, *, job: Job, env: Mapping[str, str], overwrite: bool
) -> list[Pulled]:
    """Pull every template that the stack file lists, as `template pull stack` does. Raises what `pull` raises."""
    if not sources:
        raise NotFound("the stack file lists no templates", hint="list them below 'configuration: templates:'")
    return [
        pull(
            source.source or in_store(split_lang(source.name)[0]).repo,
            project,
            job=job,
            env=env,
            only=source.name,
            overwrite=overwrite,
        )
        for source in sources
    ]


def in_store(name: str) -> StoreTemplate:
    """An entry of the shipped template store that can be pulled. Raises `TemplateNotFound`."""
    return find_in_store([entry for entry in shipped_store() if entry.repo], name)


def _templates_in(folder: Path, url: str) -> dict[str, Path]:
    """Every template below `template/`, or the folder itself if it is one. All are checked."""
    found = {file.parent.name: file.parent for file in sorted(folder.glob(f"{FOLDER}/*/template.yml"))}
    if not found and (folder / "template.yml").is_file():
        file = folder / "template.yml"
        name = parse_template(read_document(str(file)), name="template.yml").language or folder.name
        found = {folder_name(name): folder}
    if not found:
        raise TemplateNotFound(
            f"{url} holds no templates", hint="templates are folders named template/NAME, each with a template.yml"
        )
    root = folder.resolve()
    for name, path in found.items():
        split_lang(name)
        try:
            if path.is_symlink() or path.parent.is_symlink() or not path.resolve().is_relative_to(root):
                raise InvalidHandler(f"template/{name} is a link")
            if (path / "template.yml").is_symlink():
                raise InvalidHandler(f"template/{name}/template.yml is a link")
            check_tree(path)
            parse_template(read_document(str(path / "template.yml")), name=f"{name}/template.yml")
        except HilbertError as exc:
            message = exc.message.replace(f"{root}/", "").replace(f"{folder}/", "")
            raise InvalidTemplate(f"{url}: template {name}: {message}", hint="nothing was written") from exc
    return found


def _install(found: Mapping[str, Path], home: Path, origin: Origin, *, source: str, overwrite: bool) -> Pulled:
    kept = [] if overwrite else [name for name in found if (home / name).exists()]
    written = [name for name in found if name not in kept]
    staged: list[tuple[Path, Path]] = []
    with storage_faults("writing templates"):
        home.mkdir(exist_ok=True)
        try:
            for name in written:
                part = home / f".{name}.{secrets.token_hex(4)}"
                staged.append((part, home / name))
                copy_tree(found[name], part)
                document = msgspec.json.format(msgspec.json.encode(origin), indent=2)
                (part / "meta.json").write_bytes(document + b"\n")
            for part, place in staged:
                old = place.with_name(f"{part.name}.old")
                if place.exists():
                    place.rename(old)
                part.rename(place)
                remove_tree(old)
        finally:
            for part, _ in staged:
                remove_tree(part)
    return Pulled(source=source, written=tuple(written), kept=tuple(kept))
