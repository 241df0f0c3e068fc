"""`generate`: functions as Kubernetes objects."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from hilbert.cli.catalogue import load_catalogue, pick, platform_name
from hilbert.cli.options import NO_FILE, StackFile, flag
from hilbert.cli.specification import UNSAID, Specification, over
from hilbert.cli.stackfile import deployments_of, load
from hilbert.client.types import Deployment, ResourceAmounts
from hilbert.core.settings import environment


def generate(
    *,
    api: Annotated[Literal["openfaas.com/v1"], flag("Kind of object.", "--api")] = "openfaas.com/v1",
    namespace: Annotated[str, flag("Namespace of the objects; the stack file's is not used.", "--namespace", "-n")] = (
        "openfaas-fn"
    ),
    from_store: Annotated[str, flag("Function of the store, instead of a stack file.", "--from-store")] = "",
    name: Annotated[str, flag("Name of that function, if not the store's.", "--name")] = "",
    arch: Annotated[str, flag("Its platform.", "--arch")] = "x86_64",
    url: Annotated[str, flag("Catalogue of the store.", "--url", "-u")] = "",
    label: Annotated[tuple[str, ...], flag("Label KEY=VALUE; may be given again.", "--label", "-l")] = (),
    annotation: Annotated[tuple[str, ...], flag("Annotation KEY=VALUE; may be given again.", "--annotation")] = (),
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
        deployments = deployments_of(load(file), namespace=namespace)
    said = Specification(label=label, annotation=annotation) if label or annotation else UNSAID
    from hilbert.wire.yamltext import write_yaml

    documents = [_object(over(deployment, said), api, namespace) for deployment in deployments]
    for document in documents:
        sys.stdout.write("---\n")
        sys.stdout.write(write_yaml(document))


def _object(deployment: Deployment, api: str, namespace: str) -> dict[str, object]:
    """A custom resource `Function`. `fprocess` goes into the environment, where its schema has it."""
    env = dict(deployment.env_vars)
    if deployment.env_process:
        env["fprocess"] = deployment.env_process
    optional: dict[str, object] = {
        "labels": dict(deployment.labels),
        "annotations": dict(deployment.annotations),
        "environment": env,
        "constraints": list(deployment.constraints),
        "secrets": list(deployment.secrets),
        "limits": _amounts(deployment.limits),
        "requests": _amounts(deployment.requests),
        "readOnlyRootFilesystem": deployment.read_only_root_filesystem,
    }
    return {
        "apiVersion": api,
        "kind": "Function",
        "metadata": {"name": deployment.service, "namespace": namespace},
        "spec": {
            "name": deployment.service,
            "image": deployment.image,
            **{key: value for key, value in optional.items() if value},
        },
    }


def _amounts(amounts: ResourceAmounts | None) -> dict[str, str]:
    found = {} if amounts is None else {"memory": amounts.memory, "cpu": amounts.cpu}
    return {key: value for key, value in found.items() if value}
