"""`generate`: functions as Kubernetes objects."""

from __future__ import annotations

import sys
from typing import Annotated, Final, Literal

from hilbert.cli.frame.flags import NO_FILE, StackFile, flag
from hilbert.cli.function.specification import UNSAID, Specification, over
from hilbert.cli.source.build_flags import Tag
from hilbert.cli.stack.file import deployments_of, load_stack_file
from hilbert.cli.stack.kubernetes import function_object, knative_service
from hilbert.cli.store.catalogue import load_catalogue, pick, platform_name
from hilbert.cli.terminal.output import warn
from hilbert.core.environment import environment
from hilbert.wire.function import Deployment

OPENFAAS: Final = "openfaas.com/v1"
KNATIVE: Final = "serving.knative.dev/v1"

_OBJECTS: Final = {OPENFAAS: function_object, KNATIVE: knative_service}


def generate(
    *,
    api: Annotated[Literal["openfaas.com/v1", "serving.knative.dev/v1"], flag("Kind of object.", "--api")] = OPENFAAS,
    namespace: Annotated[str, flag("Namespace of the objects, whatever the stack file says.", "--namespace", "-n")] = (
        "openfaas-fn"
    ),
    from_store: Annotated[str, flag("Use this function of the store instead of a stack file.", "--from-store")] = "",
    name: Annotated[str, flag("Another name for that function.", "--name")] = "",
    arch: Annotated[str, flag("Platform of that function.", "--arch")] = "x86_64",
    url: Annotated[str, flag("Catalogue of the store.", "--url", "-u")] = "",
    label: Annotated[tuple[str, ...], flag("Label KEY=VALUE; repeatable.", "--label", "-l")] = (),
    annotation: Annotated[tuple[str, ...], flag("Annotation KEY=VALUE; repeatable.", "--annotation")] = (),
    tag: Annotated[Tag, flag("Image tag: latest (as written), or from git or the handler.", "--tag")] = ("latest"),
    file: StackFile = NO_FILE,
) -> None:
    if from_store:
        on = platform_name(arch)
        entry = pick(load_catalogue(url, environment()), from_store, on=on)
        deployments = [
            Deployment(
                service=name or entry.name,
                image=entry.images[on],
                env_process=entry.process,
                env_vars=entry.env,
                labels=entry.labels,
                annotations=entry.annotations,
                read_only_root_filesystem=entry.read_only_root,
            )
        ]
    else:
        deployments = deployments_of(load_stack_file(file), namespace=namespace, tag=tag)
    said = Specification(label=label, annotation=annotation) if label or annotation else UNSAID
    from hilbert.stack.yamltext import write_yaml

    for deployment in deployments:
        whole = over(deployment, said)
        if api == KNATIVE and whole.constraints:
            warn(f"{whole.service}: constraints are left out, since Knative chooses the node itself")
        sys.stdout.write("---\n")
        sys.stdout.write(write_yaml(_OBJECTS[api](whole, namespace)))
