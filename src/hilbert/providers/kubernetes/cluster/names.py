"""Names that stand in the cluster: labels, annotations, field manager. They are an interface; changing one breaks clusters."""

from __future__ import annotations

from typing import Final

FIELD_MANAGER: Final = "hilbert"
TENANT_MANAGER: Final = "hilbert-tenant"
"""Field manager of what a tenant's annotations make of its Namespace, so that it comes and goes apart from the rest."""
INSTALL_MANAGER: Final = "hilbert-install"
"""Field manager of the installation: running it again takes nothing away that was set through the API."""

MARKER: Final = "openfaas"
"""Annotation (and label) of a function namespace; only the value `1` counts."""

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "hilbert"
SECRET_MANAGED_BY: Final = "openfaas"  # noqa: S105 - a label's value, as clients of OpenFaaS expect it
"""Value of `app.kubernetes.io/managed-by` on secrets made through the API."""

LABEL_NAME: Final = "app.kubernetes.io/name"
NAME: Final = "hilbert"
"""Value of `app.kubernetes.io/name` on all that the installation makes."""

LABEL_NETWORK: Final = "com.hilbert.network"
"""On Pods that are cut off: `none`."""

ANNOTATION_APPLIED: Final = "com.hilbert.applied"
"""On a Deployment: `UID/GENERATION` of the Function it was rendered from."""
ANNOTATION_GENERATION: Final = "com.hilbert.generation"
"""On a Pod: the generation of the Function it was started for. Also makes every update a roll-out, as in OpenFaaS."""
ANNOTATION_FUNCTION: Final = "com.hilbert.function"
"""On a Pod: the UID of its Function, so that a function never gets Pods of a removed one of the same name."""
ANNOTATION_ROLLOUT: Final = "com.hilbert.rollout"
"""On a Function and its Pods: when the same spec was deployed again, since its image may have changed under its name."""
ANNOTATION_DIGEST: Final = "com.hilbert.digest"
"""On a Deployment, a Service and a tenant's pieces: digest of what was rendered, so that a change of rendering is seen."""
ANNOTATION_SECRETS: Final = "com.hilbert.secrets"
"""On a Pod: the newest version of a secret that it mounts. A change of a Pod makes its kubelet look at once."""
ANNOTATION_PULL_SECRETS: Final = "com.hilbert.pull-secrets"
"""On a Deployment: which of the function's secrets are registry credentials, comma-separated."""

ANNOTATION_SERVICE_ACCOUNT: Final = "com.openfaas.serviceaccount"
ANNOTATION_SCRAPE: Final = "prometheus.io.scrape"

SHELF_TOKENS: Final = "hilbert-tokens"
SHELF_KEYS: Final = "hilbert-signing-keys"
SHELVES: Final = (SHELF_TOKENS, SHELF_KEYS)
"""Secrets of the platform's own. They come with the installation, so that the gateway needs no right to make any."""

NS_PROFILES_ALLOWED: Final = "com.hilbert.profiles.allowed"
"""On a namespace: profiles that its functions may choose, or `*`. Without it: those that cannot weaken anything."""
NS_CONSTRAINTS: Final = "com.hilbert.constraints.allowed"
"""On a namespace: labels of nodes by which its functions may choose where to run; without it, any."""
NS_SERVICE_ACCOUNTS: Final = "com.hilbert.service-accounts"
"""On a namespace: service accounts that its functions may ask for."""
NS_TENANT: Final = "com.hilbert.tenant"
"""On a namespace: `managed` makes it a tenant with all that is in it, `functions` with its functions alone, `off` not at all.
Without it, `managed` counts for a namespace that the API made, and `functions` for one that was annotated with `kubectl`."""
NS_SCOPE: Final = "com.hilbert.tenant.scope"
"""Told of a namespace, never stored: which of the above counts, where it is not `managed`."""

LABEL_METADATA_NAME: Final = "kubernetes.io/metadata.name"
POD_SECURITY_PREFIX: Final = "pod-security.kubernetes.io/"

GATEWAY_APP: Final = "gateway"
"""Value of the label `app` of the gateway's Pods."""

FUNCTION_PORT: Final = 8080
SECRETS_PATH: Final = "/var/openfaas/secrets"
NON_ROOT_USER: Final = 12000
