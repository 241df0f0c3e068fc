"""`install kubernetes`: the platform in a cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import flag
from hilbert.cli.frame.parsing import seconds
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import note, out, warn
from hilbert.cli.terminal.progress import progress
from hilbert.cli.terminal.wording import count
from hilbert.core.settings import KubernetesSettings

if TYPE_CHECKING:
    from hilbert.providers.kubernetes.install.plan import Options


def kubernetes(
    *,
    dry_run: Annotated[bool, flag("Print the manifests and change nothing.", "--dry-run")] = False,
    namespace: Annotated[str, flag("Namespace for the platform itself.", "--namespace", "-n")] = "openfaas",
    namespaces: Annotated[
        str, flag("Function namespaces to create, separated by commas; the first is the default.", "--namespaces")
    ] = "openfaas-fn",
    cluster_role: Annotated[
        bool,
        flag("Grant rights in every namespace, instead of only in those listed.", "--cluster-role", negative=True),
    ] = True,
    definitions: Annotated[
        bool, flag("Install the definitions of Function and Profile.", "--definitions", negative=True)
    ] = True,
    image: Annotated[str, flag("Container image of the gateway.", "--image")] = "",
    replicas: Annotated[int, flag("Number of gateways.", "--replicas")] = 2,
    service_type: Annotated[
        Literal["ClusterIP", "NodePort", "LoadBalancer"], flag("Type of the gateway's Service.", "--service-type")
    ] = "ClusterIP",
    wait: Annotated[bool, flag("Wait until the gateway is ready, or say why it is not.", "--wait")] = False,
    timeout: Annotated[str, flag("How long to wait with --wait.", "--timeout")] = "5m",
    kubeconfig: Annotated[str, flag("Kubeconfig file; by default, KUBECONFIG.", "--kubeconfig")] = "",
    context: Annotated[str, flag("Context in the kubeconfig.", "--context")] = "",
    output: Annotated[Literal["yaml", "json"], flag("Output format of --dry-run.", "--output", "-o")] = "yaml",
) -> None:
    from hilbert.providers.kubernetes.install import plan

    options = plan.Options(
        namespace=namespace,
        namespaces=tuple(dict.fromkeys(part.strip() for part in namespaces.split(",") if part.strip())),
        cluster_role=cluster_role,
        definitions=definitions,
        image=image or plan.IMAGE,
        replicas=replicas,
        service_type=service_type,
    )
    within = seconds(timeout, "--timeout")
    if dry_run:
        if wait:
            raise UsageError("use either --dry-run or --wait, not both")
        _print(options, output)
        return
    try:
        from hilbert.providers.kubernetes.install import run
    except ImportError as exc:
        raise Failed(
            "the Kubernetes client is not installed",
            hint="install Hilbert with its extra: pip install '.[kubernetes]' in a clone of its repository",
        ) from exc
    settings = KubernetesSettings(kubeconfig=kubeconfig, context=context)
    with progress("installing the platform") as shown:

        def tell(line: str) -> None:
            shown.text = line

        done = asyncio.run(run.install(options, settings, wait=within if wait else 0.0, tell=tell))
    for line in done.skipped:
        warn(f"skipped, not allowed: {line}")
    for line in done.next_steps:
        warn(line)
    out(f"Installed {count(len(done.applied), 'object')}; the gateway is in namespace {namespace}.")
    made = "A password was generated for the user admin." if done.password_made else "The password stays as it was."
    out(f"{made} Read it with:")
    out(
        f"  kubectl --namespace {namespace} get secret basic-auth "
        "--output jsonpath='{.data.basic-auth-password}' | base64 --decode"
    )
    out(f"Reach the gateway with: kubectl --namespace {namespace} port-forward service/gateway 8080:8080")


def _print(options: Options, form: Literal["yaml", "json"]) -> None:
    from hilbert.providers.kubernetes.install import plan

    manifests = plan.make(options).every()
    if form == "json":
        write_document({"apiVersion": "v1", "kind": "List", "items": manifests}, "json")
        return
    import sys

    from hilbert.providers.kubernetes.install.yaml_text import dump_each

    sys.stdout.write(dump_each(manifests))
    note(f"The Secret basic-auth in {options.namespace} is not included; create it once:")
    note(
        f"  kubectl --namespace {options.namespace} create secret generic basic-auth "
        '--from-literal=basic-auth-user=admin --from-literal=basic-auth-password="$(openssl rand -hex 24)"'
    )
