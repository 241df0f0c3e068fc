"""Stack files on the command line: which one is meant, and the deployments that it describes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

from hilbert.cli.failures import Failed, UsageError
from hilbert.cli.options import StackFile
from hilbert.cli.terminal import warn
from hilbert.client.types import Deployment, ResourceAmounts
from hilbert.core.errors import HilbertError
from hilbert.core.settings import environment

_NAMES: Final = ("stack.yaml", "stack.yml")


def find(file: StackFile) -> str:
    """The stack file that is meant: the one given, else one of this folder; empty when there is none."""
    if file.yaml:
        return file.yaml
    return next((name for name in _NAMES if Path(name).is_file()), "")


def load(file: StackFile) -> Any:
    """The stack file that is meant. Raises `InvalidStack`, and `UsageError` when there is none."""
    source = find(file)
    if not source:
        raise UsageError("there is no stack.yaml in this folder", hint="name one with -f")
    if file.filter and file.regex:
        raise UsageError("pass in a regex or a filter, not both")
    environ = environment()
    if source.startswith(("http://", "https://")):
        from hilbert.cli.fetch import fetch

        given: str | Path = fetch(source, environ).decode("utf-8", "replace")
    else:
        given = Path(source)
    # The parser is large and most commands do without it.
    parser = importlib.import_module("hilbert.wire.stack")
    stack = parser.load_stack(
        given, envsubst=file.envsubst, regex=file.regex or None, filter=file.filter or None, environ=environ
    )
    if not stack.functions:
        raise Failed("no functions matching --filter/--regex were found in the YAML file")
    return stack


def gateway_of(file: StackFile) -> str:
    """`provider.gateway` of the stack file that is meant; empty when there is none.

    A broken file that merely lies in this folder is passed over with a warning: it was not asked for.
    """
    if not find(file):
        return ""
    try:
        return gateway_of_stack(load(file))
    except HilbertError as exc:
        if file.yaml:
            raise
        warn(f"{find(file)} of this folder is not used: {exc.message}")
        return ""


def functions_of(file: StackFile, namespace: str) -> tuple[list[tuple[str, str]], str]:
    """Names and namespaces of the stack file's functions, and its gateway. `namespace` wins over the file's."""
    stack = load(file)
    found = [(name, namespace or function.namespace or "") for name, function in stack.functions.items()]
    return found, gateway_of_stack(stack)


def gateway_of_stack(stack: Any) -> str:
    """`provider.gateway`; empty when it says nothing."""
    return str(stack.provider.gateway or "")


def deployment_of(name: str, function: Any, *, namespace: str, fprocess: str = "") -> Deployment:
    """What a function of a stack file is deployed as; its `environment_file` is read already."""
    return Deployment(
        service=name,
        image=function.image,
        namespace=namespace or function.namespace or "",
        env_process=function.fprocess or fprocess,
        env_vars=dict(function.environment),
        constraints=tuple(function.constraints),
        secrets=tuple(function.secrets),
        labels=dict(function.labels),
        annotations=dict(function.annotations),
        limits=_amounts(function.limits),
        requests=_amounts(function.requests),
        read_only_root_filesystem=function.readonly_root_filesystem,
    )


def deployments_of(stack: Any, *, namespace: str, read_template: bool) -> list[Deployment]:
    """All of them, with the commands that their templates name. Raises `Failed`."""
    return [
        deployment_of(
            name,
            function,
            namespace=namespace,
            fprocess=template_process(function.lang) if read_template and not function.fprocess else "",
        )
        for name, function in stack.functions.items()
    ]


def template_process(lang: str) -> str:
    """`fprocess` of `template/LANG/template.yml`, if that template is here; images bring their own otherwise."""
    path = Path("template") / (lang or "").partition("@")[0] / "template.yml"
    if not lang or lang.lower() == "dockerfile" or not path.is_file():
        return ""
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as exc:
        raise Failed(f"{path} cannot be read: {exc}") from exc
    return str(document.get("fprocess") or "") if isinstance(document, dict) else ""


def _amounts(given: Any) -> ResourceAmounts | None:
    if given is None:
        return None
    return ResourceAmounts(memory=str(given.memory or ""), cpu=str(given.cpu or ""))
