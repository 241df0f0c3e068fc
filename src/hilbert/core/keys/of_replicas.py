"""Keys on replicas and namespaces: networks, isolation, images, health checks and quota; and what the platform writes."""

from __future__ import annotations

from typing import Final

from hilbert.core.keys.key import AMOUNT, COUNT, DURATION, NAMES, Key, either, function, namespace, written

NETWORK: Final = (
    either(
        "com.hilbert.network",
        "`tenant`, `none` or `host`",
        "`tenant`",
        "The network of its replicas; a function gets no more than its namespace. On Kubernetes only `none` has an effect.",
    ),
    namespace(
        "com.hilbert.egress",
        "`internet`, `none`, or networks and ports",
        "`internet`",
        "Where its functions may connect to. Refused on Kubernetes.",
        kubernetes=False,
    ),
    namespace(
        "com.hilbert.ingress",
        "`own` or `all`",
        "`own`",
        "Whose functions may call its functions inside. Refused on Kubernetes.",
        kubernetes=False,
    ),
    namespace(
        "com.hilbert.network.internet", "`open` or `closed`", "`open`", "Whether Pods reach the internet.", host=False
    ),
    namespace(
        "com.hilbert.network.gateway", "`open` or `closed`", "`closed`", "Whether Pods reach the gateway.", host=False
    ),
    namespace(
        "com.hilbert.network.metrics-from",
        "a namespace",
        "none",
        "Whose Pods may read the metrics of its functions.",
        host=False,
    ),
    function(
        "prometheus.io.scrape",
        "`true` or `false`",
        "`false`",
        "Stands on the Pods, for a Prometheus that looks for it.",
        host=False,
    ),
)

ISOLATION: Final = (
    namespace(
        "com.hilbert.isolation",
        "`strict`, or promises with commas",
        "none",
        "What must be promised of its replicas, else they do not start.",
        kubernetes=False,
    ),
    function(
        "com.openfaas.profile",
        NAMES,
        "none",
        "Profiles that the function chooses. On one machine there is `gvisor` alone, for container images.",
    ),
    namespace(
        "com.hilbert.profiles",
        NAMES,
        "none",
        "Profiles that all its functions get. On one machine, all but `gvisor` are refused.",
    ),
    namespace(
        "com.hilbert.profiles.allowed",
        "names with commas, or `*`",
        "those that weaken nothing",
        "Profiles that its functions may choose.",
        host=False,
    ),
    namespace(
        "com.hilbert.constraints.allowed",
        "labels of nodes, with commas",
        "any",
        "By which labels its functions may choose nodes.",
        host=False,
    ),
    namespace(
        "com.hilbert.pod-security",
        "`restricted`, `baseline` or `privileged`",
        "`restricted` for namespaces made through the API",
        "The level of Pod Security.",
        host=False,
    ),
    function(
        "com.openfaas.serviceaccount",
        "a service account",
        "the namespace's `default`",
        "Of the function's Pods; the namespace must allow it.",
        host=False,
    ),
    namespace(
        "com.hilbert.service-accounts", NAMES, "none", "Service accounts that its functions may ask for.", host=False
    ),
)

IMAGES: Final = (
    function("com.hilbert.port", "port", "8080", "Where the image listens.", kubernetes=False, images=True),
    either(
        "com.hilbert.pull-secret",
        "name of a secret",
        "none",
        "Logins to registries. Refused on a namespace on Kubernetes; list the secret among the function's there.",
        kubernetes=False,
        images=True,
    ),
    function(
        "com.hilbert.user-ids",
        "`one` or `many`",
        "guessed from the image",
        "Whether the image needs several user ids.",
        kubernetes=False,
        images=True,
    ),
)


def _probes() -> tuple[Key, ...]:
    """Health checks; times are for Kubernetes alone."""
    found = []
    for kind, what, path in (
        ("health", "Health check", "`/_/health`"),
        ("ready", "Readiness check", "that of the health check"),
    ):
        prefix = f"com.openfaas.{kind}.http."
        found.append(function(f"{prefix}path", "path", path, f"{what}: where it asks."))
        times = (
            ("initialDelaySeconds", "0", "seconds before the first one"),
            ("periodSeconds", "2", "seconds from one to the next"),
            ("timeoutSeconds", "1", "seconds until one counts as failed"),
            *((("successThreshold", "1", "successes in a row until it counts as ready"),) if kind == "ready" else ()),
            ("failureThreshold", "3", "failures in a row until it counts as failed"),
        )
        found += [
            function(prefix + name, COUNT, default, f"{what}: {text}.", host=False) for name, default, text in times
        ]
        found.append(
            function(
                f"{prefix}initialDelay", DURATION, "none", f"{what}: older form of `initialDelaySeconds`.", host=False
            )
        )
    return tuple(found)


PROBES: Final = _probes()

QUOTA: Final = (
    namespace("com.hilbert.quota.functions", COUNT, "none", "Functions that it may have."),
    namespace("com.hilbert.quota.replicas", COUNT, "none", "Replicas that it may have."),
    namespace("com.hilbert.quota.secrets", COUNT, "none", "Secrets that it may have."),
    namespace("com.hilbert.quota.cpu", AMOUNT, "none", "The most that the CPU limits of all replicas add up to."),
    namespace("com.hilbert.quota.memory", AMOUNT, "none", "The same of memory limits."),
    namespace("com.hilbert.quota.requests-cpu", AMOUNT, "none", "The same of CPU requests."),
    namespace("com.hilbert.quota.requests-memory", AMOUNT, "none", "The same of memory requests."),
    namespace("com.hilbert.limits.cpu", AMOUNT, "100m where a quota counts it", "CPU limit of a replica without one."),
    namespace("com.hilbert.limits.memory", AMOUNT, "128Mi where a quota counts it", "Its memory limit."),
    namespace("com.hilbert.limits.requests-cpu", AMOUNT, "as the limit", "CPU request of a replica without one."),
    namespace("com.hilbert.limits.requests-memory", AMOUNT, "as the limit", "Its memory request."),
    namespace("com.hilbert.limits.max-cpu", AMOUNT, "none", "The most CPU that one replica may ask for."),
    namespace("com.hilbert.limits.max-memory", AMOUNT, "none", "The most memory that one replica may ask for."),
    namespace("com.hilbert.tenant.quota", "`off`", "", "Switches the quota off without removing it."),
    namespace("com.hilbert.tenant.limits", "`off`", "", "The same of default and greatest amounts of a replica."),
    namespace("com.hilbert.tenant.network", "`off`", "", "The same of the NetworkPolicies.", host=False),
    namespace("com.hilbert.tenant.pod-security", "`off`", "", "The same of the labels of Pod Security.", host=False),
    namespace(
        "com.hilbert.tenant",
        "`managed`, `functions` or `off`",
        "by who made the namespace",
        "How much of the namespace Hilbert rules.",
        host=False,
    ),
)

WRITTEN: Final = (
    written("com.hilbert.applied", "On a Deployment: which state of its Function it was rendered from."),
    written("com.hilbert.counts", "On a Lease: calls that one gateway has counted, for the others."),
    written("com.hilbert.digest", "On what was rendered: its digest, so that a change is seen."),
    written("com.hilbert.function", "On a Pod: the UID of its Function."),
    written("com.hilbert.generation", "On a Pod: the generation of its Function."),
    written("com.hilbert.pull-secrets", "On a Deployment: which of the secrets are logins to registries."),
    written("com.hilbert.rollout", "On a Function and its Pods: when the same was deployed again."),
    written("com.hilbert.secrets", "On a Pod: the newest version of a secret that it mounts."),
    written("com.hilbert.tenant.scope", "Told of a namespace: how much of it Hilbert rules, where that is not all."),
    written("com.hilbert.turn", "On a Lease: the namespace of which one gateway changes the use of the quota."),
    written("com.hilbert.usage", "On a Lease: what functions have used."),
    written("faas_function", "A label of every function, on each provider: its name."),
    written("openfaas", "`1`, as label and annotation: marks a namespace of functions. Also set with `kubectl`."),
)
