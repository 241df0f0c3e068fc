"""`new`: a function's folder and its entry in the stack file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import flag
from hilbert.cli.terminal.output import harmless, note, out
from hilbert.core.environment import environment, inherited_environment
from hilbert.core.errors import HilbertError
from hilbert.core.values import parse_function_name

if TYPE_CHECKING:
    from hilbert.builder.templates import Located

_GATEWAY: Final = "http://127.0.0.1:8080"


def new(
    name: str = "",
    /,
    *,
    lang: Annotated[str, flag("Template, e.g. python3-http; NAME@VERSION pins it.", "--lang")] = "",
    handler: Annotated[str, flag("Folder of the handler; by default, the function's name.", "--handler")] = "",
    prefix: Annotated[str, flag("Prefix of the image, e.g. registry.example.com/team.", "--prefix", "-p")] = "",
    append: Annotated[str, flag("Add the function to this stack file.", "--append", "-a")] = "",
    yaml: Annotated[str, flag("Stack file to write; by default, stack.yaml.", "--yaml", "-f")] = "",
    gateway: Annotated[str, flag("Gateway to write into a new stack file.", "--gateway", "-g")] = _GATEWAY,
    memory_limit: Annotated[str, flag("Memory limit, e.g. 128Mi.", "--memory-limit")] = "",
    memory_request: Annotated[str, flag("Guaranteed memory, e.g. 64Mi.", "--memory-request")] = "",
    cpu_limit: Annotated[str, flag("CPU limit, e.g. 500m.", "--cpu-limit")] = "",
    cpu_request: Annotated[str, flag("Guaranteed CPU, e.g. 100m.", "--cpu-request")] = "",
    list_: Annotated[bool, flag("List the available templates.", "--list")] = False,
    quiet: Annotated[bool, flag("Do not show the template's notes.", "--quiet", "-q")] = False,
) -> None:
    if list_:
        list_languages()
        return
    if not name or not lang:
        raise UsageError(
            "give a name and a template: hilbert new NAME --lang python3-http", hint="see the templates with --list"
        )
    if append and yaml:
        raise UsageError("use either --append or --yaml, not both")
    from hilbert.builder.project import begin_function
    from hilbert.builder.templates import find_template
    from hilbert.stack.file import Amounts, StackFunction, find_stack

    try:
        parse_function_name(name)
    except HilbertError as exc:
        raise UsageError(
            f"{name[:80]} is not a valid function name", hint="use at most 63 of a-z, 0-9 and '-'"
        ) from exc
    project = Path.cwd()
    located = _template(lang, project) or find_template(lang, project)
    prefix = (prefix or environment().get("OPENFAAS_PREFIX", "")).strip("/")
    limits, requests = Amounts(memory=memory_limit, cpu=cpu_limit), Amounts(memory=memory_request, cpu=cpu_request)
    function = StackFunction(
        lang=lang,
        handler=f"./{(handler or name).removeprefix('./')}",
        image=f"{prefix}/{name}:latest" if prefix else f"{name}:latest",
        limits=limits if limits != Amounts() else None,
        requests=requests if requests != Amounts() else None,
    )
    begun = begin_function(
        name,
        function,
        located,
        project=project,
        stack_file=append or yaml or find_stack(project) or "stack.yaml",
        must_exist=bool(append),
        gateway=gateway,
    )
    shown = begun.folder.removeprefix("./")
    out(f"Folder: {shown} created.")
    out(f"Function created in folder: {shown}")
    out(f"Stack file {'updated' if begun.appended else 'written'}: {begun.stack_file}")
    if not quiet and located.template.welcome_message:
        out(f"\n{harmless(located.template.welcome_message.rstrip())}")
    note(f"Next: 'hilbert up' builds and deploys it; 'hilbert local-run {name}' runs it without a gateway.")


def list_languages() -> None:
    """The templates of this project and those that ship with Hilbert."""
    from hilbert.builder.templates import local_templates, shipped_templates

    names = {located.name for located in (*shipped_templates(), *local_templates(Path.cwd()))}
    out("Languages available as templates:")
    for name in sorted(names):
        out(f"- {harmless(name)}")


def _template(lang: str, project: Path) -> Located | None:
    """The template, pulled now if the shipped store knows where it is; None when it has to be found otherwise."""
    from hilbert.builder.build_errors import TemplateNotFound
    from hilbert.builder.programs import Job
    from hilbert.builder.pull import in_store, pull
    from hilbert.builder.templates import find_template, split_lang

    try:
        return find_template(lang, project)
    except TemplateNotFound:
        try:
            entry = in_store(split_lang(lang)[0])
        except TemplateNotFound:
            return None
    note(f"Pulling template {lang} from {entry.repo}")
    pull(entry.repo, project, job=Job("template"), env=inherited_environment(), only=lang)
    return find_template(lang, project)
