"""Settings of functions in a cluster."""

from __future__ import annotations

from typing import Literal

import msgspec

from hilbert.core.values import Duration, Quantity


class KubernetesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The Kubernetes provider."""

    kubeconfig: str = ""
    """The kubeconfig file to use. Empty: the Pod's service account, else `KUBECONFIG`, else `~/.kube/config`."""
    context: str = ""
    """Context in the kubeconfig; empty: its current one."""
    platform_namespace: str = "openfaas"
    """Namespace of the gateway itself, its profiles and its Lease. Never a function namespace."""
    namespaces: str = ""
    """Comma-separated function namespaces, for an installation without cluster-wide rights. Empty: every namespace annotated `openfaas="1"`."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "Always"
    """When nodes pull a function's image."""
    non_root: bool = True
    """Run functions as user 12000. Off: as the user that the image names, which must not be root where Pod Security is `restricted`."""
    tmp_size: Quantity = Quantity.parse("1Gi")
    """Size of `/tmp` for functions with a read-only root. A Pod that writes more is evicted."""
    pod_annotations: str = ""
    """Comma-separated prefixes (such as `linkerd.io`) of function annotations and labels that are copied to Pods. Others with a prefix are not, since they could control the cluster."""
    blocked_networks: str = ""
    """Comma-separated extra address ranges that functions must not reach, such as a public address of the API server."""
    adopt_namespaces: bool = True
    """Protect functions in namespaces that were annotated with `kubectl`: network policies for their Pods, and for no others. `false` leaves such namespaces as they are."""
    resync: Duration = Duration.of(600)
    """How often to list the whole cluster, in addition to watching it. 0 means never."""
    lease_duration: Duration = Duration.of(6)
    """A gateway that has not renewed its leadership for this long is replaced."""
