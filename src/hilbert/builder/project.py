"""A project's folder: beginning a new function in it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import msgspec

from hilbert.builder.build_errors import InvalidHandler, storage_faults
from hilbert.builder.templates import Located
from hilbert.builder.tree import copy_tree, remove_tree
from hilbert.core.errors import AlreadyExists
from hilbert.kit.files import write_file
from hilbert.stack.document import read_document
from hilbert.stack.edit import append_function, new_stack
from hilbert.stack.file import StackFunction
from hilbert.stack.template import is_inside

_READABLE: Final = 0o644
_IGNORED: Final = ("template", "build", ".secrets")
"""What git should not keep: pulled templates, laid out builds, secrets."""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A function that was begun."""

    folder: str
    stack_file: str
    appended: bool
    """The stack file was there and has one function more."""


def begin_function(
    name: str,
    function: StackFunction,
    located: Located,
    *,
    project: Path,
    stack_file: str,
    must_exist: bool,
    gateway: str,
) -> Begun:
    """Copy the template's handler to `function.handler` and enter the function into the stack file.

    Nothing is there afterwards unless all is. With `must_exist`, the stack file has to be there. Raises `AlreadyExists`,
    `InvalidHandler`, `InvalidStack` and `StorageFull`.
    """
    if not is_inside(function.handler):
        raise InvalidHandler(f"the handler's folder {function.handler} is not inside this folder")
    folder, stack = project / function.handler, project / stack_file
    if folder.exists() or folder.is_symlink():
        raise AlreadyExists(f"the folder {function.handler} exists already", hint="choose another name, or --handler")
    there = must_exist or stack.exists()
    if there:
        text = append_function(read_document(str(stack)), name, function, source=stack_file)
    else:
        text = new_stack(name, function, gateway=gateway)
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    with storage_faults(f"beginning {name}"):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            copy_tree(located.handler, part)
            part.rename(folder)
            try:
                write_file(stack, text.encode(), mode=_READABLE, keep_mode=True)
            except BaseException:
                remove_tree(folder)
                raise
        finally:
            remove_tree(part)
        _ignore(project / ".gitignore")
    return Begun(folder=function.handler, stack_file=stack_file, appended=there)


def _ignore(path: Path) -> None:
    """Add what git should not keep to `.gitignore`."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = {line.strip().strip("/") for line in text.splitlines()}
    missing = [name for name in _IGNORED if name not in lines]
    if missing:
        end = "" if not text or text.endswith("\n") else "\n"
        write_file(
            path, (text + end + "".join(f"{name}\n" for name in missing)).encode(), mode=_READABLE, keep_mode=True
        )
