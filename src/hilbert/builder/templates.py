"""Templates: those of the project (`./template/NAME`) first, then those that ship with Hilbert."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

import hilbert
from hilbert.builder.build_errors import InvalidTemplate, TemplateNotFound
from hilbert.core.bundle import Mode
from hilbert.core.errors import HilbertError
from hilbert.stack.document import read_document
from hilbert.stack.template import Origin, Recipe, StoreTemplate, Template, parse_template

SHIPPED: Final = Path(hilbert.__file__).parent / "templates"
FOLDER: Final = "template"
"""Where a project keeps pulled templates, as in OpenFaaS."""

DOCKERFILE: Final = "dockerfile"
"""The template without a template: the handler's folder has its own Dockerfile."""

_SAME: Final[Mapping[str, str]] = {
    "python3-http-debian": "python3-http",
    "python3-debian": "python3",
    "python3-flask-debian": "python3-flask",
    "node12": "node18",
    "node14": "node18",
    "node16": "node18",
    "node17": "node18",
}
"""Names of OpenFaaS's templates whose handlers a shipped one of another name runs."""

_LANG = re.compile(r"([A-Za-z0-9][A-Za-z0-9._+-]{0,63})(?:@([A-Za-z0-9][A-Za-z0-9._/+-]{0,127}))?")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_NOTES: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """A template and where it is."""

    name: str
    """With its version, as in `lang`."""
    folder: Path
    template: Template
    shipped: bool
    base: Path | None = None
    """The folder of the template that this one extends."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where its files are; those of a later folder replace those of an earlier one."""
        return (self.folder,) if self.base is None else (self.base, self.folder)

    @property
    def handler(self) -> Path:
        """The handler that a new function begins with."""
        places = [folder / self.template.handler_folder for folder in reversed(self.folders)]
        return next((place for place in places if place.is_dir()), places[0])


def split_lang(lang: str) -> tuple[str, str]:
    """`NAME@VERSION` taken apart; the version may be empty. Raises `InvalidTemplate`."""
    match = _LANG.fullmatch(lang)
    if match is None or ".." in lang:
        raise InvalidTemplate(
            f"{lang[:80]!r} is not the name of a template", hint="write it like python3-http or python3-http@1.2.0"
        )
    return match[1], match[2] or ""


def folder_name(lang: str) -> str:
    """The folder of a template below `template/`. Raises `InvalidTemplate`."""
    name, version = split_lang(lang)
    return f"{name}@{version.replace('/', '-')}" if version else name


def find_template(lang: str, project: Path) -> Located:
    """The template that `lang` names. Raises `TemplateNotFound` and `InvalidTemplate`."""
    name, version = split_lang(lang)
    local = project / FOLDER / folder_name(lang)
    if (local / "template.yml").is_file():
        return _load(lang, local, shipped=False)
    if local.is_dir() and name.lower() != DOCKERFILE:
        raise InvalidTemplate(
            f"{local} has no template.yml",
            hint=f"remove the folder, or pull it again: 'hilbert template store pull {lang}'",
        )
    shipped = SHIPPED / _SAME.get(name.lower(), name.lower() if name.lower() == DOCKERFILE else name)
    if not version and (shipped / "template.yml").is_file():
        return _load(lang, shipped, shipped=True)
    raise TemplateNotFound(f"there is no template {lang}", hint=_suggest(name, version, project))


def check_templates(langs: Iterable[str], project: Path) -> None:
    """See that every template is there, before anything is built. Raises `TemplateNotFound`, which names all that lack."""
    missing: dict[str, TemplateNotFound] = {}
    for lang in langs:
        try:
            find_template(lang, project)
        except TemplateNotFound as exc:
            missing[lang] = exc
        except InvalidTemplate:
            continue  # The build of its function says what is wrong with it.
    if len(missing) == 1:
        raise next(iter(missing.values()))
    if missing:
        raise TemplateNotFound(
            f"there are no templates {', '.join(missing)}",
            hint="; ".join(f"{lang}: {exc.hint}" for lang, exc in missing.items()),
        )


def find_bundle_template(lang: str, project: Path) -> tuple[Located, Recipe]:
    """The template that makes a bundle for `lang`, and how.

    What `faas-cli template pull` leaves in a project says only how to build an image; the shipped template of that name, whose
    handlers are the same, makes the bundle then. Raises `TemplateNotFound`, and `InvalidTemplate` when there is none.
    """
    found = find_template(lang, project)
    if found.template.bundle is None and not found.shipped:
        name, _ = split_lang(lang)
        shipped = SHIPPED / _SAME.get(name, name)
        if (shipped / "template.yml").is_file():
            found = _load(lang, shipped, shipped=True)
    return found, recipe_of(found)


def makes_bundles(lang: str, project: Path) -> bool:
    """Whether the template says how to build a bundle. Raises `TemplateNotFound` and `InvalidTemplate`."""
    found = find_template(lang, project)
    if found.template.bundle is not None:
        return True
    shipped = SHIPPED / _SAME.get(split_lang(lang)[0], split_lang(lang)[0])
    return (
        not found.shipped
        and (shipped / "template.yml").is_file()
        and _load(lang, shipped, shipped=True).template.bundle is not None
    )


def local_templates(project: Path) -> list[Located]:
    """Those of the project, by name. Broken ones are left out."""
    return _all_in(project / FOLDER, shipped=False)


def shipped_templates() -> list[Located]:
    """Those that ship with Hilbert, by name."""
    return _all_in(SHIPPED, shipped=True)


def origin_of(template: Located) -> Origin | None:
    """Where a pulled template came from, if it says so."""
    try:
        return msgspec.json.decode((template.folder / "meta.json").read_bytes(), type=Origin)
    except (OSError, msgspec.MsgspecError):
        return None


def recipe_of(located: Located) -> Recipe:
    """How the template becomes a bundle. Raises `InvalidTemplate` when it cannot."""
    recipe = located.template.bundle
    if recipe is None:
        raise InvalidTemplate(
            f"template {located.name} in {located.folder} says only how to build a container image, not a bundle",
            hint="use --image-build, or a template with a 'bundle' section; 'hilbert new --list' shows those that ship",
        )
    if Mode(recipe.mode) is Mode.PYTHON and not recipe.handler:
        raise InvalidTemplate(f"{located.folder}/template.yml: bundle.handler: mode python needs the handler's file")
    return recipe


def packages_for(located: Located, options: Sequence[str]) -> list[str]:
    """The packages of the build options that a function names. Raises `InvalidTemplate` for one that is not there."""
    known = {option.name: option.packages for option in located.template.build_options}
    packages: dict[str, None] = {}
    for option in options:
        if option not in known:
            raise InvalidTemplate(
                f"template {located.name} has no build option {option!r}",
                hint=f"it has {', '.join(known)}" if known else "it has none",
            )
        packages.update(dict.fromkeys(known[option]))
    return list(packages)


def parse_store(data: bytes, *, name: str) -> list[StoreTemplate]:
    """The catalogue of a template store. Raises `InvalidTemplate`."""
    try:
        return msgspec.json.decode(data, type=list[StoreTemplate])
    except msgspec.MsgspecError as exc:
        raise InvalidTemplate(f"{name} is not a template store: {exc}") from exc


def shipped_store() -> list[StoreTemplate]:
    """The catalogue that ships with Hilbert."""
    return parse_store((SHIPPED / "store.json").read_bytes(), name="the template store")


def find_in_store(catalogue: Sequence[StoreTemplate], name: str) -> StoreTemplate:
    """By name, or by `SOURCE/NAME` when several sources offer it; recommended and official ones first.

    Raises `TemplateNotFound`.
    """
    found = [entry for entry in catalogue if name in (entry.template, f"{entry.source}/{entry.template}")]
    if not found:
        close = difflib.get_close_matches(name, [entry.template for entry in catalogue], n=1)
        raise TemplateNotFound(
            f"the template store has no template {name}",
            hint=f"did you mean {close[0]}?" if close else "'hilbert template store list' shows what there is",
        )
    return max(found, key=lambda entry: (entry.recommended, entry.official == "true"))


def _load(name: str, folder: Path, *, shipped: bool) -> Located:
    file = folder / "template.yml"
    try:
        template = parse_template(read_document(str(file)), name=str(file))
    except HilbertError as exc:
        raise InvalidTemplate(exc.message, hint=exc.hint or "fix it, or pull the template again") from exc
    if not template.extends:
        return Located(name=name, folder=folder, template=template, shipped=shipped)
    base = SHIPPED / template.extends
    if not _NAME.fullmatch(template.extends) or not (base / "template.yml").is_file():
        raise InvalidTemplate(f"{file}: extends: {template.extends[:80]!r} is not a template that ships with Hilbert")
    inherited = _load(template.extends, base, shipped=True).template
    merged = {
        name: getattr(template, name) or getattr(inherited, name)
        for name in ("fprocess", "build_options", "welcome_message", "bundle", "watchdog")
    }
    return Located(
        name=name, folder=folder, template=msgspec.structs.replace(template, **merged), shipped=shipped, base=base
    )


def _all_in(folder: Path, *, shipped: bool) -> list[Located]:
    found = []
    for file in sorted(folder.glob("*/template.yml")):
        try:
            found.append(_load(file.parent.name, file.parent, shipped=shipped))
        except HilbertError:
            continue
    return found


def _suggest(name: str, version: str, project: Path) -> str:
    if version:
        return f"pull that version: 'hilbert template store pull {name}@{version}'"
    known = [located.name for located in (*shipped_templates(), *local_templates(project))]
    if any(name == entry.template for entry in shipped_store()):
        return f"run 'hilbert template store pull {name}'"
    close = difflib.get_close_matches(name, [one for one in known if _same_language(name, one)], n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"'hilbert new --list' shows what is here; 'hilbert template store pull {name}' may fetch it"


def _same_language(name: str, other: str) -> bool:
    """Whether the first words are alike: `golang-http` is no slip for `python3-http`."""
    return bool(difflib.get_close_matches(name.partition("-")[0], [other.partition("-")[0]]))
