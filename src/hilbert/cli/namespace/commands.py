"""`namespace`: tenants."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Final

from hilbert.cli.frame.flags import HERE, PLAIN, Annotations, Connection, Labels, Shape, Yes, flag
from hilbert.cli.frame.parsing import pairs
from hilbert.cli.gateway.target import connect
from hilbert.cli.namespace.limits import rows
from hilbert.cli.terminal.confirm import confirm
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import harmless, note, out, warn
from hilbert.cli.terminal.progress import progress
from hilbert.client import Client
from hilbert.client.faults import UnexpectedAnswer
from hilbert.core.errors import Conflict, Denied, Forbidden, Invalid, NamespaceNotFound, NotFound
from hilbert.wire.limits import LimitStatus

_AGAIN: Final = 1.0
"""Seconds between two looks with --wait."""


def list_names(*, at: Connection = HERE, shape: Shape = PLAIN) -> None:
    with connect(at) as client:
        names = sorted(client.list_namespaces())
    if shape.format != "table":
        write_document(names, shape.format)
        return
    out("Namespaces:")
    for name in names:
        out(harmless(f" - {name}"))


def create(name: str, /, *, label: Labels = (), annotation: Annotations = (), at: Connection = HERE) -> None:
    labels, annotations = pairs(label, "--label"), pairs(annotation, "--annotation")
    note(f"Creating Namespace: {name}")
    with connect(at) as client:
        warning = client.create_namespace(name, labels=labels, annotations=annotations)
    out(f"Namespace Created: {name}")
    if warning:
        warn(warning)


def get(name: str, /, *, at: Connection = HERE, shape: Shape = PLAIN) -> None:
    with connect(at) as client:
        found = client.get_namespace(name)
        held_to = _limits(client, name) if shape.format == "table" else []
    if shape.format != "table":
        write_document(found, shape.format)
        return
    out(f"Name:  {found.name}")
    for title, entries in (("Labels:", found.labels), ("Annotations:", found.annotations)):
        if entries:
            out(title)
            for key, value in sorted(entries.items()):
                out(harmless(f" {key}: {value}"))
    if found.warnings:
        out("Warnings:")
        for warning in found.warnings:
            out(harmless(f" {warning}"))
    if held_to:
        out("Limits:")
        for line in rows(held_to):
            out(harmless(f" {line}"))


def update(name: str, /, *, label: Labels = (), annotation: Annotations = (), at: Connection = HERE) -> None:
    labels, annotations = pairs(label, "--label"), pairs(annotation, "--annotation")
    note(f"Updating Namespace: {name}")
    with connect(at) as client:
        warning = client.update_namespace(name, labels=labels, annotations=annotations)
    out(f"Namespace Updated: {name}")
    if warning:
        warn(warning)


def delete(
    name: str,
    /,
    *,
    force: Annotated[
        bool, flag("Delete it even if it holds objects that the platform did not create.", "--force")
    ] = False,
    wait: Annotated[bool, flag("Wait until everything in it is gone, however long that takes.", "--wait")] = False,
    yes: Yes = False,
    at: Connection = HERE,
) -> None:
    confirm(f"Delete the namespace {harmless(name)} and everything in it?", yes=yes)
    note(f"Deleting Namespace: {name}")
    with connect(at) as client, progress(f"removing everything in {name}") as shown:
        try:
            client.delete_namespace(name, force=force)
        except NamespaceNotFound:
            if _left(client, name) is None:
                raise
        while left := _left(client, name):  # The gateway accepts a deletion that takes long before it is done.
            if not wait:
                raise left
            shown.text = left.message
            time.sleep(_AGAIN)
    out(f"Namespace Removed: {name}")


def _limits(client: Client, name: str) -> Sequence[LimitStatus]:
    """Nothing where they cannot be asked for: of a gateway that has none, or by who may not list functions."""
    try:
        return client.list_limits(name)
    except (Denied, NotFound, Invalid, UnexpectedAnswer):
        return []


def _left(client: Client, name: str) -> Conflict | None:
    """What says that the namespace is still being deleted. None: it is gone, or one of that name is there again."""
    try:
        client.get_namespace(name, deleting=True)
    except Conflict as exc:
        return exc
    except (Forbidden, NamespaceNotFound):  # Who may delete it need not be allowed to read it.
        return None
    return None
