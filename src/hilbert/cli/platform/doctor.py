"""`doctor`: what is wrong with this installation, a namespace or a function, and what to do."""

from __future__ import annotations

from typing import Annotated

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Namespace, Shape, Yes, flag
from hilbert.cli.function.name import split_name
from hilbert.cli.gateway.target import client_for, find_auth, resolve
from hilbert.cli.platform.checks import check_function, check_gateway, check_machine, check_namespace
from hilbert.cli.platform.finding import Finding, Level
from hilbert.cli.platform.strays import check_strays
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import harmless, out, paint
from hilbert.cli.terminal.progress import progress
from hilbert.client.url import is_loopback, parse_url
from hilbert.core.environment import environment

_MARKS = {Level.OK: ("ok", "32"), Level.WARNING: ("warning", "33"), Level.BROKEN: ("broken", "1;31")}


def doctor(
    name: Annotated[str, flag("Function, or FUNCTION.NAMESPACE; by default, the installation.")] = "",
    /,
    *,
    namespace: Namespace = "",
    fix: Annotated[bool, flag("Remove what platforms that were killed have left on this machine.", "--fix")] = False,
    yes: Yes = False,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> int:
    name, namespace = split_name(name, namespace)
    environ = environment()
    target = resolve(at.gateway, environ=environ)
    auth = find_auth(target.url, token=at.token, environ=environ)
    here = not name and not namespace and is_loopback(parse_url(target.url))
    if fix and not here:
        raise UsageError("--fix is for this machine's installation: leave out the name, the namespace and the gateway")
    found: list[Finding] = []
    with client_for(target.url, auth, tls_no_verify=at.tls_no_verify, timeout=10.0) as client, progress("looking"):
        if here:
            found += check_machine(environ)
            found += check_strays(environ, fix=fix, yes=yes)
        reached, facts = check_gateway(client, target)
        found += facts
        if reached and name:
            found += check_function(client, name, namespace)
        elif reached and namespace:
            found += check_namespace(client, namespace)
    _show(found, shape)
    return 1 if any(finding.level is Level.BROKEN for finding in found) else 0


def _show(found: list[Finding], shape: Shape) -> None:
    if shape.format != "table":
        write_document(found, shape.format)
        return
    import sys

    for finding in found:
        word, colour = _MARKS[finding.level]
        out(f"{paint(f'{word:<8}', colour, sys.stdout)} {harmless(finding.what)}")
        for line in finding.evidence:
            out(f"           | {harmless(line)}")
        if finding.todo:
            out(f"         > {harmless(finding.todo)}")
