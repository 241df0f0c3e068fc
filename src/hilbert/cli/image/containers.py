"""`images pull`, `load` and `export`: container images in the store of this machine."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import PLAIN, Shape, flag
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import harmless, out
from hilbert.cli.terminal.progress import Progress, progress
from hilbert.cli.terminal.wording import size_text
from hilbert.core.environment import environment
from hilbert.core.settings import load as load_settings

if TYPE_CHECKING:
    from hilbert.images.model import Credentials, Step
    from hilbert.images.store import OciStore

Namespace = Annotated[str, flag("Namespace that may use it; empty for the default one.", "--namespace", "-n")]
Shared = Annotated[bool, flag("Every namespace may use it.", "--shared")]


def pull(
    image: str,
    /,
    *,
    namespace: Namespace = "",
    shared: Shared = False,
    credentials: Annotated[str, flag("File with logins, as docker's config.json.", "--credentials")] = "",
    shape: Shape = PLAIN,
) -> None:
    whose = _namespace(namespace, shared=shared)
    logins = _logins(credentials)
    store = open_store()
    with progress(f"pulling {image}") as line:
        found = asyncio.run(store.pull(image, whose, credentials=logins, progress=_shown(line, image)))
    if shape.format == "table":
        out(f"{harmless(found.name)}  {found.digest}  {size_text(found.size)}")
    else:
        document = {"image": found.name, "namespace": whose, "digest": found.digest, "size": found.size}
        write_document(document, shape.format)


def load(
    file: str,
    /,
    *,
    name: Annotated[str, flag("Name of the image, if the file holds only one.", "--name")] = "",
    namespace: Namespace = "",
    shared: Shared = False,
    shape: Shape = PLAIN,
) -> None:
    from hilbert.images.reference import familiar

    whose = _namespace(namespace, shared=shared)
    store = open_store()
    with progress(f"reading {file}") as line, tempfile.TemporaryDirectory() as folder:
        path = Path(file)
        if path.is_fifo():  # Nothing in it can be read twice.
            path = Path(folder) / "spooled.tar"
            with Path(file).open("rb") as source, path.open("wb") as spooled:
                shutil.copyfileobj(source, spooled)
        brought = asyncio.run(store.load(path, whose, name=name, progress=_shown(line, file)))
    if shape.format != "table":
        found = [{"image": familiar(one.name), "namespace": whose, "digest": one.digest} for one in brought]
        write_document(found, shape.format)
        return
    for one in brought:
        out(f"{harmless(familiar(one.name))}  {one.digest}")


def export(
    image: str,
    file: str,
    /,
    *,
    namespace: Annotated[
        str, flag("Namespace whose image it is; empty for the default one.", "--namespace", "-n")
    ] = "",
) -> None:
    with progress(f"writing {file}"):
        open_store().export(image, _namespace(namespace, shared=False), Path(file))
    out(f"Wrote {harmless(file)}, {size_text(Path(file).stat().st_size)}.")


def open_store() -> OciStore:
    """The store of this machine's platform. Raises `InvalidSettings`."""
    from hilbert.images.store import OciStore

    settings = load_settings(environ=environment()).settings
    return OciStore(Path(settings.paths.state_dir) / "oci", settings.images)


def _namespace(given: str, *, shared: bool) -> str:
    if shared and given:
        raise UsageError("use either --namespace or --shared, not both")
    if shared:
        return ""
    from hilbert.core.values import parse_namespace_name

    return parse_namespace_name(given) if given else load_settings(environ=environment()).settings.default_namespace


def _logins(path: str) -> Credentials | None:
    if not path:
        return None
    from hilbert.core.errors import Invalid
    from hilbert.images.login import parse_docker_config

    try:
        return parse_docker_config(Path(path).read_bytes())
    except OSError as exc:
        raise Failed(f"cannot read {path}: {exc.strerror}") from exc
    except Invalid as exc:
        raise Failed(f"{path}: {exc.message}") from exc


def _shown(line: Progress, what: str) -> Callable[[Step], None]:
    def show(step: Step) -> None:
        line.text = f"{step.phase} {what}"
        if step.total and step.phase == "downloading":
            line.text += (
                f", {size_text(step.done)} of {size_text(step.total)}, {step.layers} of {step.all_layers} layers"
            )

    return show
