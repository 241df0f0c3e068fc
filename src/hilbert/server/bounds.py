"""Every bound on what strangers may send, hold or fill: one table, from which docs/reference/limits.md is written.

A stranger is a client, or a function. Each bound has a test that is marked with its name (`pytest.mark.bound`), and
`tests/unit/server/test_bounds.py` fails for a bound without one. What a function may use of the machine is listed with the sandbox.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from hilbert.api.alert import MAX_ALERTS
from hilbert.api.asgi import MAX_PARAMETERS
from hilbert.api.audit import MOST as MOST_RECORDS
from hilbert.api.dead_letters import MOST_LISTED as MOST_DEAD
from hilbert.api.held import LONGEST_ONES, ROOM
from hilbert.api.held import SHARE as BODIES_SHARE
from hilbert.api.log_streams import BURST as LOG_BURST
from hilbert.api.log_streams import MOST as MOST_LOG_READERS
from hilbert.api.log_streams import PART as LOG_PART
from hilbert.api.log_streams import RATE as LOG_READ_RATE
from hilbert.api.log_streams import SHARE as LOG_SHARE
from hilbert.api.oauth import MAX_FORM
from hilbert.api.queues import MOST_AT_ONCE, MOST_LISTED
from hilbert.api.schedules import MOST_TIMES
from hilbert.api.services import PLATFORM_TURNS, TENANT_TURNS, TURNS
from hilbert.audit import reading, record, thinning, webhook
from hilbert.builder.tree import MOST_BYTES as MOST_HANDLER_BYTES
from hilbert.builder.tree import MOST_FILES as MOST_HANDLER_FILES
from hilbert.control.delivery.callbacks import LONGEST, TRIES, WITHIN
from hilbert.control.delivery.calling import MOST_KEPT
from hilbert.control.delivery.intake import LONGEST_KEY, MOST_DELAY
from hilbert.control.delivery.request import MOST_DEPTH
from hilbert.control.delivery.room import ANNOTATION_RATE
from hilbert.control.scaling.prometheus import MOST as MOST_LOADS
from hilbert.control.schedules import expression
from hilbert.control.schedules.rules import MOST
from hilbert.control.usage import DAYS_KEPT
from hilbert.core import limits, settings
from hilbert.core.network import ITEMS_MOST
from hilbert.core.values import Duration, Quantity
from hilbert.dataplane import forwarded, guard, turned_away, uses
from hilbert.dataplane.inside import SHARE as INSIDE_SHARE
from hilbert.dataplane.places import SHARE
from hilbert.iam import federation, fetch, issuer_keys, jose
from hilbert.iam.guesses import BURST, INTERVAL, MOST_SOURCES
from hilbert.iam.token_store import MOST as MOST_TOKENS
from hilbert.iam.token_store import MOST_PER_NAMESPACE
from hilbert.images.archive import MOST_IMAGES, MOST_MEMBERS
from hilbert.images.documents import MOST_DOCUMENT, MOST_LAYERS
from hilbert.images.jobs import LONGEST as LONGEST_FETCH
from hilbert.images.keep import MOST_NAMES
from hilbert.images.login import MOST_LOGINS
from hilbert.images.reference import LONGEST as LONGEST_IMAGE
from hilbert.images.registry import MOST_TOKEN
from hilbert.images.store import JOBS, NAMESPACE_JOBS
from hilbert.images.tree import MOST_DEPTH as MOST_FOLDERS
from hilbert.images.unpack import MOST_ENTRIES
from hilbert.images.web import MOST_REDIRECTS
from hilbert.kit.http1 import Limits
from hilbert.kit.http1.forward import HALF_CLOSED
from hilbert.kit.http1.forward.hop import HELD
from hilbert.kit.http1.limits import FRAMING, FRAMING_SHARE, LINGER, LINGER_BYTES
from hilbert.kit.http1.malformed import LIMITS as ANSWERS
from hilbert.kit.http1.pool import IDLE_TIME, MOST_IDLE
from hilbert.providers import room
from hilbert.queues.sqlite.queue import MOST_PUTTING
from hilbert.runtimes.logs.folder import BATCH_MOST
from hilbert.runtimes.logs.reader import LINE_MOST
from hilbert.runtimes.network import names
from hilbert.runtimes.network.rules import CONNECTIONS_MOST
from hilbert.runtimes.process.images import ABSENT_MOST
from hilbert.server.front import HEAD_BYTES, HEAD_TIME, METRICS
from hilbert.watchdog import callers
from hilbert.watchdog.front import HELD_MOST
from hilbert.wire import specification
from hilbert.wire.headers import MAX_CALL_ID
from hilbert.wire.secret import MAX_VALUE_BYTES

_LIMITS: Final = Limits()


class Bound(NamedTuple):
    """One bound."""

    name: str
    what: str
    beyond: str
    """What comes of more: a status, or what is done."""
    setting: str = ""
    """Where it is set; empty when it is fixed."""
    fixed: str = ""
    """Its value, where no setting says it."""
    scope: str = "request"
    """Of what there may be so much: a request, a connection, a source, a function, a worker, the platform."""

    @property
    def default(self) -> str:
        """As a reader writes it."""
        if self.fixed:
            return self.fixed
        value = settings.known_settings()[self.setting][1]
        if isinstance(value, Duration):
            return str(value) if value.seconds else "none"
        if isinstance(value, Quantity):
            return _size(value.units)
        return _size(value) if self.setting.endswith("_bytes") and isinstance(value, int) else str(value)


def _size(count: int) -> str:
    """A number of bytes."""
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if count >= size and not count % size:
            return f"{count // size} {unit}"
    return f"{count} bytes"


CLIENTS: Final = (
    Bound("request-head", "bytes of a request's line and headers", "431, closed", "gateway.max_header_bytes"),
    Bound("request-headers", "headers", "431, closed", "gateway.max_header_lines"),
    Bound("request-trailers", "trailers, in lines and bytes as headers", "431, closed", "gateway.max_header_lines"),
    Bound(
        "request-framing", "bytes of chunk sizes and extensions", "413, closed",
        fixed=f"{_size(FRAMING)}, and {FRAMING_SHARE} for each byte of data",
    ),
    Bound("request-body", "bytes of a body for a function", "413, closed", "gateway.max_body"),
    Bound("api-body", "bytes of a body for the REST API", "413, closed", "gateway.max_api_body"),
    Bound("call-id", "characters of `X-Call-Id`", "replaced", fixed=str(MAX_CALL_ID)),
    Bound("request-head-time", "time for the head, from its first byte on", "408, closed", "gateway.read_timeout"),
    Bound("request-body-time", "time between two bytes of a body", "408, closed", "gateway.read_timeout"),
    Bound("write-time", "time in which the client takes no byte of what is ready for it", "cut", "gateway.write_timeout", scope="connection"),
    Bound("idle-time", "time between two requests", "closed", "gateway.keep_alive_timeout", scope="connection"),
    Bound("pipelined", "requests that wait behind the one being answered", "reading stops", fixed=str(_LIMITS.pipelined), scope="connection"),
    Bound("pipelined-bytes", "bytes of their bodies", "reading stops", fixed=_size(_LIMITS.held), scope="connection"),
    Bound("linger", "what a refused client may still send", "cut", fixed=f"{LINGER:g} s, {_size(LINGER_BYTES)}", scope="connection"),
    Bound("tunnel", "time without a byte in a tunnel of which one side has ended", "cut", fixed=f"{HALF_CLOSED:g} s", scope="connection"),
    Bound("connections", "connections", "503, closed", "gateway.max_connections", scope="worker"),
    Bound("log-streams", "logs that are read at once", "503", fixed=f"{MOST_LOG_READERS}, or 1/{LOG_SHARE} of the control process's limit of descriptors if that is less; 1/{LOG_PART} of it of one namespace or caller", scope="platform"),
    Bound("descriptors", "descriptors open when a connection comes", "503, closed", fixed="5/8 of the process's limit, 6/8 with what is called; 7/8 for a source that has less than its part", scope="worker"),
    Bound(
        "source-connections", "connections from one address (IPv6: one /64); behind a trusted proxy, calls of one address",
        "503", "gateway.max_source_connections", fixed=f"all but 1/{SHARE} of the connections", scope="source and worker",
    ),
    Bound("crowded-calls", "calls under way", "503: queued calls from 3/4 of the connections on, starts from zero from 13/16, those of namespaces beyond their share from 7/8", "gateway.max_connections", scope="worker"),
    Bound("idle-connections", "connections that wait for their client when all connections or descriptors are taken", "idle ones are closed, then stalled ones; of the source with most the one that has waited longest", fixed="none", scope="worker"),
    Bound("tunnels", "calls that ask for an upgrade (WebSockets), as long as they are open", "503", "gateway.max_tunnels", fixed="half of the connections", scope="worker"),
    Bound("api-calls", "requests to the REST API under way", "503", "gateway.max_api_calls", scope="worker"),
    Bound("api-turns", "requests to the REST API that are handled", "waits for its turn", fixed=f"{TURNS} of all tenants, {TENANT_TURNS} of one; {PLATFORM_TURNS} of administrators", scope="platform"),
    Bound("api-bodies", "bytes of bodies of requests to the REST API that have not been answered", "503, closed", fixed=f"{_size(ROOM)} (or {LONGEST_ONES} of the longest allowed) of strangers, as much of tenants, and of administrators; 1/{BODIES_SHARE} of it of one address or tenant", scope="platform"),
    Bound("api-writes", "requests a second that change something in a namespace, except an administrator's", "429", fixed=f"none; annotation `{limits.PREFIX}{limits.API_WRITES}`, of which {limits.WRITES_BURST:g} s may come together", scope="namespace"),
    Bound("control-connections", "connections of workers to the REST API", "503", fixed="5/8 of the process's descriptors", scope="control process"),
    Bound("metrics-connections", "connections to the metrics port, seven eighths of them from one address", "closed", fixed=f"{METRICS}; {HEAD_TIME:g} s and {_size(HEAD_BYTES)} for a head", scope="control process"),
    Bound("source-places", "tunnels, and requests to the REST API, of one address", "503", fixed=f"all but 1/{SHARE} of those of a worker", scope="source and worker"),
    Bound("proxies", "trusted proxies in a row whose word is taken", "what they say further out is dropped", fixed=str(forwarded.MOST)),
    Bound("wrong-passwords", "wrong passwords", "429", fixed=f"{BURST}, then one every {INTERVAL:g} s", scope="source"),
    Bound("password-sources", "sources whose wrong passwords are remembered", "the oldest is forgotten", fixed=str(MOST_SOURCES), scope="platform"),
)  # fmt: skip

FUNCTIONS: Final = (
    Bound("answer-head", "bytes of an answer's status line and headers", "502, cut", fixed=_size(ANSWERS.head)),
    Bound("answer-headers", "headers", "502, cut", fixed=str(ANSWERS.lines)),
    Bound("answer-trailers", "trailers, in lines and bytes as headers", "cut", fixed=str(ANSWERS.lines)),
    Bound("answer-framing", "bytes of chunk sizes and extensions", "cut", fixed=f"{_size(FRAMING)}, and {FRAMING_SHARE} for each byte of data"),
    Bound("interim-answers", "interim answers (1xx)", "502, cut", fixed=f"{ANSWERS.interim}, and one for each second"),
    Bound(
        "idle-upstreams", "connections to a replica that wait for the next call", "closed",
        fixed=f"{MOST_IDLE}, for {IDLE_TIME:g} s, and none above half of the process's descriptors", scope="replica and worker",
    ),
    Bound("log-files", "descriptors open in the log keeper when a replica starts", "its log is thrown away", fixed="5/8 of the process's limit", scope="platform"),
    Bound("log-rate", "bytes a second that replicas write to their logs", "waits", fixed=f"16 MiB of all; annotation `{limits.PREFIX}{limits.LOG_BYTES}`", scope="function or namespace"),
    Bound("first-byte", "time until the answer begins", "504", "gateway.first_byte_timeout"),
    Bound("idle-answer", "time between two bytes of an answer", "cut", "gateway.idle_timeout"),
    Bound("total", "time for the whole call", "504, or cut", "gateway.total_timeout"),
)  # fmt: skip

TOKENS: Final = (
    Bound("exchange-form", "bytes of a request for a token, its query included", "400", fixed=_size(MAX_FORM)),
    Bound("refused-exchanges", "tokens that were refused", "429", fixed=f"{BURST}, then one every {INTERVAL:g} s", scope="source"),
    Bound("token-bytes", "bytes of a token that is exchanged", "400", fixed=_size(jose.MAX_TOKEN), scope="token"),
    Bound("token-depth", "levels of maps and lists in its claims", "400", fixed=str(jose.MAX_DEPTH), scope="token"),
    Bound("issued-token-bytes", "bytes of a token that the gateway makes of it", "400", fixed=f"{federation.MAX_ISSUED} bytes", scope="token"),
    Bound("checked-tokens", "tokens that are remembered as checked", "the oldest is forgotten", fixed=f"{federation.MOST_REMEMBERED}, for {federation.REMEMBERED:g} s", scope="platform"),
    Bound("call-tokens", "function tokens whose signature was checked and that were refused", "401, unchecked", fixed=f"{guard.MOST_FAILURES} a second", scope="source and worker"),
    Bound("remembered-tokens", "callers of functions that a worker remembers as checked", "forgotten, and checked again", fixed=str(guard.MOST_REMEMBERED), scope="worker"),
    Bound("readiness-held", "questions whether a replica is ready that its watchdog holds until it is", "answered at once", fixed=f"{HELD_MOST}, for 1 s", scope="replica"),
    Bound("watchdog-tokens", "function tokens that a function's own watchdog has checked and refused", "401, unchecked", fixed=f"{callers.MOST_FAILURES} a second", scope="address and replica"),
    Bound("unknown-key-ids", "looks for a key that is not known", "400", fixed=f"one every {issuer_keys.ASKED_EVERY:g} s", scope="issuer"),
    Bound("token-key-id", "characters of the name of a token's key", "400", fixed=str(jose.MAX_KID), scope="token"),
    Bound("issuer-keys", "keys", "refused", fixed=str(jose.MAX_KEYS), scope="issuer"),
    Bound("issuer-document", "bytes of an issuer's document", "refused", fixed=_size(fetch.MAX_BYTES), scope="document"),
    Bound("issuer-time", "time for an issuer's document, from its name to its last byte", "refused", fixed=f"{fetch.WITHIN:g} s", scope="document"),
)  # fmt: skip

AUDIT: Final = (
    Bound("audit-refused-calls", "refused calls of functions that a worker tells one by one", "counted", fixed=f"{turned_away.MOST} a second", scope="worker"),
    Bound("usage-waiting", "calls whose usage a worker keeps for the webhook, while the control process is away", "lost, and counted", fixed=str(uses.MOST), scope="worker"),
    Bound("audit-refusals", "refusals that are recorded one by one", "counted", fixed=f"{thinning.BURST}, then one every {thinning.EVERY:g} s", scope="caller, or source without credentials"),
    Bound("audit-strangers", "such refusals of all sources without credentials", "counted", fixed=f"{thinning.STRANGERS}, then one every {thinning.STRANGERS_EVERY:g} s", scope="platform"),
    Bound("audit-sources", "callers and sources that are told apart for this", "counted together", fixed=str(thinning.MOST_KEPT), scope="platform"),
    Bound("audit-text", "characters of a text from outside in a record", "cut", fixed=str(record.MAX_TEXT), scope="text"),
    Bound("audit-read", "bytes of the audit log that one request looks through", "the answer says that it is not complete", fixed=_size(reading.MOST_BYTES)),
    Bound("audit-listed", "records in one answer", "400", fixed=str(MOST_RECORDS)),
    Bound("events-waiting", "events that wait in memory for a webhook, where there is no audit log on disk", "the oldest are lost, and counted", fixed=str(webhook.MOST_HELD), scope="platform"),
    Bound("audit-size", "bytes of the audit log", "the oldest records are removed", "audit.max_size", scope="platform"),
)  # fmt: skip

WAITING: Final = (
    Bound("held", "bytes of a body that are kept for a replica, or to be sent again", "reading stops", fixed=_size(HELD)),
    Bound("queue-length", "calls that wait for a replica", "503", "gateway.queue_length", scope="function and worker"),
    Bound("waiting-bytes", "bytes of the bodies of all calls that wait", "503", "gateway.max_waiting_bytes", scope="worker"),
    Bound("measured-loads", "bytes of an answer of the Prometheus server that measures loads", "it counts as no answer", fixed=_size(MOST_LOADS)),
    Bound("activation", "time for a replica to be there", "503", "gateway.activation_timeout"),
    Bound("call-rate", "calls a second", "429", fixed=f"none; annotation `{limits.ANNOTATION_RATE}`", scope="function or namespace"),
    Bound("call-concurrency", "calls at once", "429", fixed=f"none; annotation `{limits.ANNOTATION_CONCURRENCY}`", scope="function or namespace"),
    Bound("held-calls", "calls that wait for a replica", "429", fixed=f"none; annotation `{limits.PREFIX}{limits.HELD}`", scope="function or namespace"),
    Bound("held-bytes", "bytes of the bodies of calls that wait", "429", fixed=f"none; annotation `{limits.PREFIX}{limits.HELD_BYTES}`", scope="function or namespace"),
    Bound("open-connections", "upgraded connections, and those from functions to the gateway", "429, or closed", fixed=f"none; annotation `{limits.PREFIX}{limits.CONNECTIONS}`", scope="function or namespace"),
    Bound("starts", "functions that are started from zero at once", "waits for its turn", fixed=f"none; annotation `{limits.PREFIX}{limits.STARTS}`", scope="namespace"),
)  # fmt: skip

QUEUED: Final = (
    Bound("queued-calls", "calls of a function that wait, run, or are dead letters", "503", "queue.function_calls", scope="function"),
    Bound("queued-bytes", "bytes of their requests, and of answers that are kept", "503", "queue.function_bytes", scope="function"),
    Bound("namespace-calls", "such calls of all functions of a namespace", "503", "queue.namespace_calls", scope="namespace"),
    Bound("namespace-bytes", "bytes of their requests, and of answers that are kept", "503", "queue.namespace_bytes", scope="namespace"),
    Bound("queue-rate", "calls that are queued a second", "429", fixed=f"none; annotation `{ANNOTATION_RATE}`", scope="function or namespace"),
    Bound("queueing", "requests that wait for the disk", "503", fixed=str(MOST_PUTTING), scope="platform"),
    Bound("batch", "calls in one request", "400", fixed=str(MOST_AT_ONCE)),
    Bound("listed-calls", "calls, and dead letters, in one answer", "400", fixed=str(min(MOST_LISTED, MOST_DEAD))),
    Bound("listed-times", "next times of a schedule in one answer", "400", fixed=str(MOST_TIMES)),
    Bound("delay", "time by which a call is put off", "400", fixed=f"{MOST_DELAY / 86_400:g} days"),
    Bound("idempotency-key", "characters of `Idempotency-Key`", "400", fixed=str(LONGEST_KEY)),
    Bound("depth", "queued calls that lead to one another", "400", fixed=str(MOST_DEPTH), scope="chain of calls"),
    Bound("kept-answer", "bytes of an answer that are kept", "cut", fixed=_size(MOST_KEPT), scope="call"),
    Bound("callback-url", "characters of `X-Callback-Url`", "400", fixed=str(LONGEST)),
    Bound("callback", "tries of a call-back, and time for each", "given up", fixed=f"{TRIES}, {WITHIN:g} s", scope="call"),
    Bound("schedules", "schedules", "ignored", fixed=str(MOST), scope="function"),
    Bound("schedule", "characters of an expression", "ignored", fixed=str(expression.LONGEST), scope="schedule"),
)  # fmt: skip

IMAGES: Final = (
    Bound("image-size", "bytes of an unpacked image", "refused", "images.max_size", scope="image"),
    Bound("image-files", "files, folders and links", "refused", fixed=str(MOST_ENTRIES), scope="image"),
    Bound("image-depth", "folders within one another", "refused", fixed=str(MOST_FOLDERS), scope="image"),
    Bound("image-layers", "layers", "refused", fixed=str(MOST_LAYERS), scope="image"),
    Bound("image-document", "bytes of a manifest, an index or a configuration", "refused", fixed=_size(MOST_DOCUMENT), scope="image"),
    Bound("image-namespace", "bytes of images", "refused, once what can be fetched again has made room", "images.namespace_size", scope="namespace"),
    Bound("image-names", "names of images", "refused, once what can be fetched again has made room", fixed=str(MOST_NAMES), scope="namespace"),
    Bound("image-fetches", "images that are fetched at once", "waits", fixed=str(JOBS), scope="platform"),
    Bound("image-namespace-fetches", "images that are fetched at once", "waits", fixed=str(NAMESPACE_JOBS), scope="namespace"),
    Bound("image-time", "time of one fetch", "given up; what has come is kept", fixed=f"{LONGEST_FETCH:g} s", scope="image"),
    Bound("image-name", "characters of an image's name", "400", fixed=str(LONGEST_IMAGE), scope="image"),
    Bound("image-absent", "names that are known to name no bundle", "all are forgotten, and looked for again", fixed=str(ABSENT_MOST), scope="platform"),
    Bound("image-logins", "bytes of a pull secret's logins", "refused", fixed=_size(MOST_LOGINS), scope="secret"),
    Bound("archive-images", "images in a file that is loaded", "refused", fixed=str(MOST_IMAGES), scope="file"),
    Bound("archive-files", "files in a file that is loaded", "refused", fixed=str(MOST_MEMBERS), scope="file"),
    Bound("image-redirects", "redirects of a registry", "refused", fixed=str(MOST_REDIRECTS)),
    Bound("image-token", "bytes of a token server's answer", "refused", fixed=_size(MOST_TOKEN)),
)  # fmt: skip

NETWORKS: Final = (
    Bound("inside-connections", "connections of all functions of a namespace to the gateway", "closed", fixed=f"1/{INSIDE_SHARE} of a worker's connections; all namespaces together half", scope="namespace and worker"),
    Bound("connections-out", "connections to other machines", "dropped or refused", fixed=str(CONNECTIONS_MOST), scope="replica"),
    Bound("name-questions", "questions for names that wait for an answer", "dropped", fixed=str(names.PENDING_MOST), scope="replica"),
    Bound("name-rate", "questions for names in a second", "left in the kernel's buffer until the next", fixed=str(names.RATE_MOST), scope="replica"),
    Bound("name-question", "bytes of a question", "cut", fixed=_size(names.QUESTION_MOST), scope="question"),
    Bound("name-streams", "TCP connections to the name server", "closed", fixed=str(names.STREAMS_MOST), scope="replica"),
    Bound("name-time", "time for an answer, or for the next bytes of a connection", "given up", fixed=f"{names.ANSWER_MOST:g} s", scope="question"),
    Bound("name-descriptors", "descriptors open in the network keeper when a question comes", "dropped", fixed="6/8 of the process's limit", scope="platform"),
    Bound("networks", "descriptors open in the network keeper when a replica starts", "the start fails", fixed="7/8 of the process's limit", scope="platform"),
    Bound("egress-items", "items of the annotation `com.hilbert.egress`", "400", fixed=str(ITEMS_MOST), scope="namespace"),
)  # fmt: skip

STATED: Final = (
    Bound("labels", "labels", "400", fixed=f"{specification.MAX_LABELS}, of {_size(specification.MAX_LABELS_BYTES)} together", scope="function or namespace"),
    Bound("annotations", "annotations", "400", fixed=f"{specification.MAX_ANNOTATIONS}, of {_size(specification.MAX_ANNOTATIONS_BYTES)} together", scope="function or namespace"),
    Bound("environment", "environment variables", "400", fixed=f"{specification.MAX_ENV}, of {_size(specification.MAX_ENV_BYTES)} together", scope="function"),
    Bound("process", "bytes of the command", "400", fixed=_size(specification.MAX_PROCESS_BYTES), scope="function"),
    Bound("function-secrets", "secrets", "400", fixed=str(specification.MAX_SECRETS), scope="function"),
    Bound("constraints", "constraints", "400", fixed=f"{specification.MAX_CONSTRAINTS}, of {specification.MAX_CONSTRAINT} characters each", scope="function"),
    Bound("secret-value", "bytes of a value", "400", fixed=_size(MAX_VALUE_BYTES), scope="secret"),
    Bound("query-parameters", "parameters in a query of the REST API", "400", fixed=str(MAX_PARAMETERS)),
    Bound("alerts", "alerts in a report to `/system/alert`", "400", fixed=str(MAX_ALERTS)),
    Bound("handler-files", "files of a handler that is built, and their bytes", "refused", fixed=f"{MOST_HANDLER_FILES}, {_size(MOST_HANDLER_BYTES)}", scope="build"),
)  # fmt: skip

KEPT: Final = (
    Bound("kept-functions", "functions, and bytes of what was said of them (on one machine)", "403", fixed=f"{room.FUNCTIONS.most}, or annotation `{room.FUNCTIONS.annotation}`; {_size(room.FUNCTIONS.size)}", scope="namespace"),
    Bound("kept-secrets", "secrets, and their bytes (on one machine)", "403", fixed=f"{room.SECRETS.most}, or annotation `{room.SECRETS.annotation}`; {_size(room.SECRETS.size)}", scope="namespace"),
    Bound("tokens", "tokens", "403", fixed=str(MOST_PER_NAMESPACE), scope="namespace"),
    Bound("all-tokens", "tokens", "403", fixed=str(MOST_TOKENS), scope="platform"),
    Bound("log-bytes", "bytes of a log that are kept", "the oldest lines are removed", "process.log_bytes", scope="replica"),
    Bound("log-read-rate", "bytes a second of logs that are read", "waits", fixed=f"{_size(LOG_READ_RATE)}, and {_size(LOG_BURST)} at once after a pause", scope="namespace"),
    Bound("log-line", "bytes of a line of a log", "comes in pieces", fixed=_size(LINE_MOST), scope="line"),
    # `providers.kubernetes.keep.event_recorder`, which is there only with the extra `kubernetes`.
    Bound("scaling-events", "events on a Function in a cluster", "left out", fixed="20, then one every 30 s; of all together 100, then 5 a second", scope="function"),
    Bound("log-batch", "bytes of lines that are held for one that reads a log, or follows it", "reading stops; what is removed meanwhile is not seen", fixed=_size(BATCH_MOST), scope="reader"),
    Bound("usage-days", "days of usage", "the oldest are removed", fixed=str(DAYS_KEPT), scope="namespace"),
)  # fmt: skip

TABLES: Final = (
    ("What a client may send, hold and fill", CLIENTS),
    ("What a function may answer", FUNCTIONS),
    ("Calls that wait", WAITING),
    ("Queued calls", QUEUED),
    ("Tokens of identity providers", TOKENS),
    ("Container images and registries", IMAGES),
    ("Networks of functions", NETWORKS),
    ("What a tenant may say of its functions", STATED),
    ("What is kept of a tenant", KEPT),
    ("The audit log", AUDIT),
)

BOUNDS: Final = tuple(bound for _, bounds in TABLES for bound in bounds)


def render_page() -> str:
    """docs/reference/limits.md."""
    lines = [
        "# Limits",
        "",
        "Generated from `server/bounds.py` by `make docs`. Each limit is tried by a test.",
        "",
        "Everything that a client or a function can send, hold or fill has a limit, in bytes, number and time.",
        "A limit with a setting can be changed; [Settings](settings.md) says how. The others are fixed.",
        "Limits per worker hold in each worker process: a gateway with four workers takes four times as much in all.",
        "The kernel spreads connections over the workers, so the same is true of limits per source and worker.",
        "",
        "The column *more* says what happens beyond the limit: a number is the status of the answer; *closed* means that the client's connection ends in good order after it; *cut* means that it ends at once.",
        "For an answer of a function, *cut* means that the function's connection ends, and the client's too if the answer had begun.",
    ]
    for title, bounds in TABLES:
        lines += ["", f"## {title}", "", "| limit | default | of each | more | setting |", "|---|---|---|---|---|"]
        for bound in bounds:
            setting = f"`{bound.setting}`" if bound.setting else ""
            lines.append(f"| {bound.what} | {bound.default} | {bound.scope} | {bound.beyond} | {setting} |")
    return "\n".join(lines) + "\n"
