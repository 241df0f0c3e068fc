"""Stack files on the command line: which one is meant, and the deployments that it describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import StackFile, StackSource
from hilbert.cli.terminal.output import warn
from hilbert.core.environment import environment
from hilbert.core.errors import HilbertError
from hilbert.wire.function import Deployment, ResourceAmounts

if TYPE_CHECKING:  # The parser takes long to load, and most commands meet no stack file.
    from hilbert.builder.image_names import TagForm
    from hilbert.stack.file import Amounts, Stack, StackFunction

_NAMES: Final = ("stack.yaml", "stack.yml")
"""`wire.stack.DEFAULT_FILES`, without loading it."""


def find_stack_file(file: StackSource) -> str:
    """The stack file that is meant: the one given, else one of this folder; empty when there is none."""
    return file.yaml or next((name for name in _NAMES if Path(name).is_file()), "")


def load_stack_file(file: StackSource) -> Stack:
    """The stack file that is meant. Raises `InvalidStack`, and `UsageError` when there is none."""
    from hilbert.stack.file import load_stack

    wildcard, regex = (file.filter, file.regex) if isinstance(file, StackFile) else ("", "")
    if wildcard and regex:
        raise UsageError("pass in a regex or a filter, not both")
    source = find_stack_file(file)
    if not source:
        raise UsageError(
            "there is no stack.yaml in this folder", hint="name one with -f, or describe a function with flags"
        )
    return load_stack(
        source,
        envsubst=file.envsubst,
        regex=regex or None,
        filter=wildcard or None,
        environ=environment(),
    )


def gateway_of(file: StackSource) -> str:
    """`provider.gateway` of the stack file that is meant; empty when there is none.

    A broken file that merely lies in this folder is passed over with a warning: it was not asked for.
    """
    source = find_stack_file(file)
    if not source:
        return ""
    try:
        return load_stack_file(file).provider.gateway
    except HilbertError as exc:
        if file.yaml:
            raise
        warn(f"ignoring {source} in this folder: {exc.message}")
        return ""


def functions_of(file: StackFile, namespace: str) -> tuple[list[tuple[str, str]], str]:
    """Names and namespaces of the stack file's functions, and its gateway. `namespace` wins over the file's."""
    stack = load_stack_file(file)
    return [(name, namespace or function.namespace) for name, function in stack.functions.items()], (
        stack.provider.gateway
    )


def deployments_of(
    stack: Stack, *, namespace: str, read_template: bool = True, tag: TagForm = "latest"
) -> list[Deployment]:
    """All functions of a stack file as they are deployed; `namespace` wins over the file's.

    Raises `Failed` for a function without an image, `InvalidStack` for a broken `environment_file`, and
    `InvalidHandler` for a `tag` from git outside a repository.
    """
    return [
        _deployment(stack, name, function, namespace=namespace, read_template=read_template, tag=tag)
        for name, function in stack.functions.items()
    ]


def template_process(lang: str) -> str:
    """`fprocess` of `template/LANG/template.yml`, if that template is here; images bring their own otherwise."""
    name = lang.partition("@")[0]
    path = Path("template") / name / "template.yml"
    if not name or "/" in name or name.lower() == "dockerfile" or not path.is_file():
        return ""
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as exc:
        raise Failed(f"cannot read {path}: {exc}") from exc
    return str(document.get("fprocess") or "") if isinstance(document, dict) else ""


def _deployment(
    stack: Stack, name: str, function: StackFunction, *, namespace: str, read_template: bool, tag: TagForm
) -> Deployment:
    from hilbert.builder.image_names import tagged
    from hilbert.stack.file import read_environment

    if not function.image:
        raise Failed(f"function {name} has no image in {stack.source}", hint=f"add an 'image:' line to {name}")
    project = Path()
    process = function.fprocess or (template_process(function.lang) if read_template else "")
    return Deployment(
        service=name,
        image=tagged(function.image, tag, handler=project / function.handler, project=project, env=environment()),
        namespace=namespace or function.namespace,
        env_process=process,
        env_vars=read_environment(function),
        constraints=function.constraints,
        secrets=function.secrets,
        labels=function.labels,
        annotations=function.annotations,
        limits=_amounts(function.limits),
        requests=_amounts(function.requests),
        read_only_root_filesystem=function.readonly_root_filesystem,
    )


def _amounts(given: Amounts | None) -> ResourceAmounts | None:
    return None if given is None else ResourceAmounts(memory=given.memory, cpu=given.cpu)
