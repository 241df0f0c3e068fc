"""Settings of queued calls, of schedules and of scaling."""

from __future__ import annotations

import msgspec

from hilbert.core.values import Duration, Quantity


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Queued calls (`/async-function/`). Bounds count waiting and running calls and dead letters; beyond them calls get 503."""

    slots: int = 64
    """How many queued calls run at once."""
    namespace_slots: int = 48
    """How many queued calls of one namespace run at once."""
    function_slots: int = 32
    """How many queued calls of one function run at once, at most. Fewer run when the function answers 429 or 503."""
    attempts: int = 10
    """How often a call is tried before it becomes a dead letter. `com.openfaas.retry.attempts` overrides this."""
    min_wait: Duration = Duration.of(10)
    """How long to wait before the second attempt; the wait then doubles. `com.openfaas.retry.min_wait` overrides this."""
    max_wait: Duration = Duration.of(120)
    """The longest wait between two attempts. `com.openfaas.retry.max_wait` overrides this."""
    function_calls: int = 100_000
    """Maximum number of queued calls of one function."""
    function_bytes: Quantity = Quantity.parse("1Gi")
    """Maximum size of the queued requests of one function."""
    namespace_calls: int = 500_000
    """Maximum number of queued calls of one namespace."""
    namespace_bytes: Quantity = Quantity.parse("4Gi")
    """Maximum size of the queued requests of one namespace."""
    nats_url: str = ""
    """Where the NATS servers are that keep queued calls for the Kubernetes provider, such as `nats://nats.openfaas:4222`; several with commas, with user and password if they ask for them, `tls://` for TLS. They need JetStream with `sync_interval: always`. Empty: Kubernetes has no queue. One host needs none."""
    nats_replicas: int = 1
    """How many NATS servers each keep all queued calls: 3 in a cluster of three. Existing data keeps its number."""
    schedules: bool = True
    """Call functions at the times that their annotation `schedule` says. Turn it off where a cron-connector does this for all of them."""
    private_callbacks: bool = False
    """Allow call-backs to private networks (10.0.0.0/8 and the like). This machine and link-local addresses are never called."""


class ScalingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Scaling by load, and to zero (the labels `com.openfaas.scale.*`)."""

    by_load: bool = True
    """Change the replicas of functions by their load. When off, functions still go to zero and wake."""
    default_target: int = 50
    """Target load of one replica, for functions that name none (`com.openfaas.scale.target`)."""
    maintain_min: bool = False
    """Raise a function that has fewer replicas than its minimum, even when it has no load."""
    prometheus_url: str = ""
    """Prometheus server, such as `http://127.0.0.1:9090`, that measures loads of your own: a function whose `com.openfaas.scale.type` is `NAME` scales by `job:function_current_load:sum{scaling_type="NAME"}`. Empty: such functions keep their count."""
