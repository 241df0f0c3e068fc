"""Keys on calls: scaling, times, limits, the queue and schedules."""

from __future__ import annotations

from typing import Final

from hilbert.core.keys.key import AMOUNT, COUNT, DURATION, NAMES, NUMBER, TEXT, either, function, label, namespace

SCALING: Final = (
    label("com.openfaas.scale.min", COUNT, "1", "Least replicas while the function is awake."),
    label("com.openfaas.scale.max", COUNT, "20", "Most replicas. Equal to the least: load changes nothing."),
    label(
        "com.openfaas.scale.type",
        "`rps`, `capacity`, `cpu`, `queue`, or the name of a query",
        "`rps`",
        "Which load counts. A query is asked of the Prometheus server of the setting `scaling.prometheus_url`.",
    ),
    label(
        "com.openfaas.scale.target",
        NUMBER,
        "the setting `scaling.default_target`; 5 where only a maximum is set",
        "Load for one replica.",
    ),
    label("com.openfaas.scale.target-proportion", "number up to 1", "0.9", "How much of the target counts as full."),
    label(
        "com.openfaas.scale.down.window",
        "duration up to `5m`",
        "none",
        "Keeps the highest number that was needed within this time.",
    ),
    label("com.openfaas.scale.zero", "`true` or `false`", "`false`", "Stops all replicas when there are no calls."),
    label("com.openfaas.scale.zero-duration", DURATION, "`15m`", "How long nobody may have called it before that."),
    label(
        "com.openfaas.scale.factor",
        "whole number up to 100",
        "20",
        "Step of AlertManager's alerts, in hundredths of the most replicas; 0 is no step.",
    ),
    function(
        "com.hilbert.scale.idle",
        "`freeze` or `stop`",
        "`stop`",
        "What becomes of the replicas at zero.",
        kubernetes=False,
    ),
)

CALLS: Final = (
    either(
        "com.hilbert.auth",
        "`required` or `none`",
        "`none`",
        "Callers must prove that they may call it. Neither function nor namespace can take it from the other.",
    ),
    function(
        "com.hilbert.max-inflight",
        COUNT,
        "`max_inflight` of the environment, else no limit",
        "Calls that one replica takes at once; the rest wait in the gateway.",
    ),
    function(
        "com.hilbert.queue-length",
        COUNT,
        "the setting `gateway.queue_length`",
        "Calls that may wait for a replica in one worker.",
    ),
    either(
        "com.hilbert.timeout.activation",
        DURATION,
        "the setting `gateway.activation_timeout`",
        "How long a call waits for a replica. A function's own wins, as with the other times.",
    ),
    either(
        "com.hilbert.timeout.first-byte",
        DURATION,
        "the setting `gateway.first_byte_timeout`",
        "From a request's last byte to the first of its answer.",
    ),
    either("com.hilbert.timeout.idle", DURATION, "the setting `gateway.idle_timeout`", "Silence within an answer."),
    either("com.hilbert.timeout.total", DURATION, "the setting `gateway.total_timeout`", "A whole call."),
)

LIMITS: Final = (
    either("com.hilbert.limits.rate", NUMBER, "none", "Calls a second."),
    either("com.hilbert.limits.burst", COUNT, "those of one second", "Calls that may come together after a pause."),
    either("com.hilbert.limits.concurrency", COUNT, "none", "Calls at once, those that wait included."),
    either("com.hilbert.limits.held", COUNT, "none", "Calls that wait for a replica."),
    either("com.hilbert.limits.held-bytes", AMOUNT, "none", "Bytes of the bodies of calls that wait."),
    either("com.hilbert.limits.connections", COUNT, "none", "Connections that stay open."),
    either(
        "com.hilbert.limits.log-bytes",
        "amount from 1024",
        "none",
        "Bytes a second that replicas write to their logs. On Kubernetes the cluster keeps the logs.",
        kubernetes=False,
    ),
    namespace("com.hilbert.limits.starts", COUNT, "none", "Functions that are started from zero at once."),
    namespace("com.hilbert.limits.api-writes", NUMBER, "none", "Changes a second through the REST API."),
    namespace(
        "com.hilbert.limits.weight",
        "number from 0.01 to 100",
        "1",
        "Its share where several want more than there is: of places for calls and, on one machine, of processors.",
    ),
)

QUEUED: Final = (
    either(
        "com.hilbert.async.results", DURATION, "not kept", "How long the answers of queued calls are kept, up to `24h`."
    ),
    either(
        "com.hilbert.callback.key",
        "name of a secret",
        "not signed",
        "The secret whose value signs what call-backs get.",
    ),
    either(
        "com.hilbert.queue.calls",
        COUNT,
        "the settings `queue.function_calls`, `queue.namespace_calls`",
        "Calls that may wait, run or be dead letters.",
    ),
    either(
        "com.hilbert.queue.bytes",
        AMOUNT,
        "the settings `queue.function_bytes`, `queue.namespace_bytes`",
        "Bytes of their requests and of answers that are kept.",
    ),
    either("com.hilbert.queue.rate", NUMBER, "none", "Calls that may be queued a second."),
    either(
        "com.hilbert.queue.concurrency",
        COUNT,
        "the settings `queue.function_slots`, `queue.namespace_slots`",
        "Queued calls that run at once.",
    ),
    namespace(
        "com.hilbert.queue.weight", "number from 0.01 to 100", "1", "Its share of the places while others want them."
    ),
    either(
        "com.openfaas.retry.attempts",
        "whole number from 1 to 1000",
        "the setting `queue.attempts`",
        "How often a call is tried in all. A function's own wins, as with the others.",
    ),
    either(
        "com.openfaas.retry.codes",
        "statuses, with commas",
        "`408,429,500,502,503,504`",
        "Answers after which a call is tried again.",
    ),
    either("com.openfaas.retry.min_wait", DURATION, "the setting `queue.min_wait`", "Wait before the second try."),
    either("com.openfaas.retry.max_wait", DURATION, "the setting `queue.max_wait`", "Longest wait between tries."),
)

SCHEDULES: Final = (
    function("topic", NAMES, "none", "`cron-function`: called when `schedule` says. Others are for connectors."),
    function("schedule", "cron expressions, with `;`", "none", "When the gateway calls the function."),
    either("com.hilbert.schedule.timezone", "a time zone", "`UTC`", "Of expressions that name none."),
    either(
        "com.hilbert.schedule.overlap",
        "`allow`, `skip` or `queue-one`",
        "`allow`",
        "What happens at a tick while the last call has not ended.",
    ),
    either("com.hilbert.schedule.catch-up", "duration up to `168h`", "none", "How late a missed tick is made up for."),
    either("com.hilbert.schedule.jitter", "duration up to `1h`", "none", "Calls are put off by up to this."),
    either("com.hilbert.schedule.body", TEXT, "empty", "The body of the call."),
    either("com.hilbert.schedule.content-type", "a media type", "none", "Its `Content-Type`."),
    either("com.hilbert.schedule.paused", "`true` or `false`", "`false`", "Stops the schedules."),
    either("com.hilbert.schedule.by", "`gateway` or `connector`", "`gateway`", "Who makes the calls."),
)
