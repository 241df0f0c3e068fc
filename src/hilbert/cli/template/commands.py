"""`template`: pulling templates into a project, and looking at what there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import NO_FILE, PLAIN, Format, Shape, StackFile, flag
from hilbert.cli.stack.file import load_stack_file
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import columns, harmless, note, out, warn
from hilbert.cli.terminal.progress import progress
from hilbert.core.environment import environment, inherited_environment

if TYPE_CHECKING:
    from hilbert.builder.pull import Pulled
    from hilbert.stack.template import StoreTemplate

Overwrite = Annotated[bool, flag("Replace templates that already exist.", "--overwrite", negative=True)]
Debug = Annotated[bool, flag("Show the output of git.", "--debug")]
Url = Annotated[
    str, flag("Catalogue (URL or file); by default, OPENFAAS_TEMPLATE_STORE_URL or the built-in one.", "--url", "-u")
]


def pull(source: str = "", /, *, overwrite: Overwrite = True, debug: Debug = False, file: StackFile = NO_FILE) -> None:
    from hilbert.builder.pull import pull as pull_from
    from hilbert.builder.pull import pull_configured

    project = Path.cwd()
    if source == "stack":
        stack = load_stack_file(file)
        with progress("pulling templates"):
            found = pull_configured(
                stack.configuration.templates,
                project,
                job=_job(debug),
                env=inherited_environment(),
                overwrite=overwrite,
            )
    else:
        source = source or environment().get("OPENFAAS_TEMPLATE_URL", "")
        if not source:
            raise UsageError(
                "name the source of the templates: a git URL or a folder, optionally with #VERSION",
                hint="find some with 'hilbert template store list'; those in 'hilbert new --list' need no pull",
            )
        with progress(f"pulling {source}"):
            found = [pull_from(source, project, job=_job(debug), env=inherited_environment(), overwrite=overwrite)]
    for pulled in found:
        _say(pulled)


def list_templates(*, shape: Shape = PLAIN) -> None:
    from hilbert.builder.templates import local_templates, origin_of, shipped_templates

    rows: list[dict[str, Any]] = []
    mine = local_templates(Path.cwd())
    shadowed = {located.name for located in mine}
    for located in [*mine, *(located for located in shipped_templates() if located.name not in shadowed)]:
        origin = origin_of(located)
        source = "ships with Hilbert" if located.shipped else origin.repository if origin else "this project"
        version = (origin.ref_name or origin.sha[:12]) if origin and not located.shipped else ""
        builds = "bundle, image" if located.template.bundle is not None else "image"
        rows.append({"name": located.name, "source": source, "version": version, "builds": builds})
    if shape.format != "table":
        write_document(rows, shape.format)
        return
    table = [("NAME", "SOURCE", "VERSION", "BUILDS")]
    table += [(row["name"], row["source"], row["version"] or "-", row["builds"]) for row in rows]
    for line in columns(table):
        out(harmless(line))


def store_list(
    *,
    url: Url = "",
    platform: Annotated[str, flag("Only templates for this platform, e.g. x86_64.", "--platform", "-p")] = "",
    recommended: Annotated[bool, flag("Only recommended templates.", "--recommended", "-r")] = False,
    official: Annotated[bool, flag("Only official templates.", "--official", "-o")] = False,
    verbose: Annotated[bool, flag("Also show language and platform.", "--verbose", "-v")] = False,
    output: Annotated[Format, flag("Output format.", "--output")] = "table",
    json: Annotated[bool, flag("Same as --output json.", "--json", "-j")] = False,
) -> None:
    shape = Shape(output=output, json=json)
    entries = [
        entry
        for entry in _catalogue(url)
        if (not platform or entry.platform.lower() == platform.lower())
        and (not recommended or entry.recommended)
        and (not official or entry.official == "true")
    ]
    if shape.format != "table":
        write_document(entries, shape.format)
        return
    head = ("NAME", "RECOMMENDED", "SOURCE", "DESCRIPTION")
    rows = [head + (("LANGUAGE", "PLATFORM") if verbose else ())]
    for entry in entries:
        row = (entry.template, "[x]" if entry.recommended else "[ ]", entry.source, entry.description)
        rows.append(row + ((entry.language, entry.platform) if verbose else ()))
    for line in columns(rows):
        out(harmless(line))


def store_describe(name: str, /, *, url: Url = "", shape: Shape = PLAIN) -> None:
    from hilbert.builder.templates import find_in_store

    entry = find_in_store(_catalogue(url), name)
    if shape.format != "table":
        write_document(entry, shape.format)
        return
    for label, value in (
        ("Name:", entry.template),
        ("Description:", entry.description),
        ("Language:", entry.language),
        ("Source:", entry.source),
        ("Platform:", entry.platform),
        ("Official:", entry.official),
        ("Recommended:", "true" if entry.recommended else "false"),
        ("Repository:", entry.repo or "ships with Hilbert"),
    ):
        out(harmless(f"{label:<14}{value}"))


def store_pull(name: str, /, *, url: Url = "", overwrite: Overwrite = True, debug: Debug = False) -> None:
    from hilbert.builder.pull import pull as pull_from
    from hilbert.builder.templates import find_in_store, split_lang

    given, at, version = name.partition("@")
    plain = given.rpartition("/")[2]
    wanted = f"{plain}{at}{version}"
    split_lang(wanted)
    entry = find_in_store(_catalogue(url), given)
    if not entry.repo:
        out(f"Template {plain} ships with Hilbert; there is nothing to pull.")
        return
    with progress(f"pulling {entry.repo}"):
        pulled = pull_from(
            entry.repo, Path.cwd(), job=_job(debug), env=inherited_environment(), only=wanted, overwrite=overwrite
        )
    _say(pulled)


def _catalogue(flag_url: str) -> list[StoreTemplate]:
    from hilbert.builder.templates import parse_store, shipped_store

    source = flag_url or environment().get("OPENFAAS_TEMPLATE_STORE_URL", "")
    if not source:
        return shipped_store()
    if source.startswith(("http://", "https://")):
        from hilbert.cli.frame.download import fetch

        return parse_store(fetch(source, environment()), name=source)
    from hilbert.stack.document import read_document

    return parse_store(read_document(source.removeprefix("file://")).encode(), name=source)


def _job(debug: bool) -> Any:
    from hilbert.builder.programs import Job

    return Job("template", on_line=(lambda line: note(harmless(line))) if debug else None)


def _say(pulled: Pulled) -> None:
    if pulled.written:
        out(f"Wrote {len(pulled.written)} template(s) : [{' '.join(pulled.written)}] from {harmless(pulled.source)}")
    if pulled.kept:
        warn(f"kept {', '.join(pulled.kept)}, already in ./template; use --overwrite to replace")
