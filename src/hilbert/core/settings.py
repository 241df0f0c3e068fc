"""Settings: one frozen struct per concern, one loader.

Sources, the later ones winning: defaults, `hilbert.toml`, environment, flags. The environment spells
`gateway.port` as `HILBERT_GATEWAY__PORT`; OpenFaaS's own names are understood as aliases (`ALIASES`).
Nothing but this module reads the environment of the platform's processes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from hilbert.core.errors import Invalid, InvalidSettings
from hilbert.core.model import CallPolicy
from hilbert.core.settings_values import check_networks, check_url, nearest, short_digest
from hilbert.core.values import (
    DEFAULT_NAMESPACE,
    Duration,
    NamespaceName,
    Quantity,
    parse_boolean,
    parse_namespace_name,
    parse_whole,
)


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The public side: where the gateway listens and what it accepts from untrusted clients."""

    host: str = "127.0.0.1"
    """Address to listen on. Keep loopback unless other machines must reach the gateway."""
    port: int = 8080
    """TCP port of the gateway; 0 lets the kernel pick one."""
    metrics_port: int = 8082
    """TCP port of `/metrics` and `/healthz`, on `metrics_host`; 0 lets the kernel pick one."""
    metrics_host: str = "127.0.0.1"
    """Address of the metrics port. It has no authentication."""
    workers: int = 0
    """Proxy worker processes; 0 means one per core, at most 8."""
    basic_auth: bool = True
    """Ask for the password on `/system/` and `/ui/`."""
    hosts: str = ""
    """Comma-separated host names under which the REST API answers when `basic_auth` is off, besides IP addresses, `localhost`, this machine's name and names within a cluster. `.example.com` stands for all names that end so. Other names get 421, since any web site can point a name of its own at this gateway."""
    functions_domain: str = "fn.localhost"
    """Domain below which each namespace has a name of its own for browsers: at `dev.fn.localhost` the functions of `dev` answer, and nothing else. There their pages are whole web pages; at the gateway's other names they are sandboxed, since they share those with the API. All names below the domain must lead to the gateway, as browsers do below `localhost`. Empty: no such names."""
    secret_mount_path: str = ""
    """Folder with `basic-auth-user` and `basic-auth-password`; empty: created in the state directory at the first start."""
    max_header_bytes: int = 65536
    """Maximum size in bytes of a request's first line and headers, and of its trailers. Larger requests get 431."""
    max_header_lines: int = 256
    """Maximum number of headers in a request. Requests with more get 431."""
    max_body: Quantity = Quantity.parse("1Gi")
    """Maximum size of a request body sent to a function. Larger bodies get 413."""
    max_api_body: Quantity = Quantity.parse("4Mi")
    """Maximum size of a request body sent to the REST API. Larger bodies get 413."""
    max_connections: int = 20000
    """Maximum number of client connections per worker. When they are all taken, one that waits for its client is closed to make room, an idle one if there is any; otherwise further connections are refused immediately. Five eighths of the files that a worker may have open is a second limit."""
    max_source_connections: int = 0
    """Maximum number of connections per worker from one address (for IPv6, from one /64 network). 0 means seven eighths of what a worker accepts. Trusted proxies have no such limit."""
    max_tunnels: int = 0
    """Maximum number of calls per worker that ask for an upgrade, such as WebSockets, at the same time. One address gets seven eighths of them. 0 means half of the connections that a worker accepts."""
    max_api_calls: int = 256
    """Maximum number of requests to the REST API per worker that are handled at the same time, followers of logs included. One address gets seven eighths of them. Further ones get 503."""
    trusted_proxies: str = ""
    """Comma-separated addresses and networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-For`, `-Host`, `-Proto` and `Forwarded` headers are trusted."""
    max_waiting_bytes: Quantity = Quantity.parse("64Mi")
    """Maximum size of all request bodies that a worker holds for calls that wait for a replica. A call beyond this gets 503."""
    read_timeout: Duration = Duration.of(60)
    """How long a client may take to send the headers, and how long it may pause within a body. Slower clients get 408."""
    write_timeout: Duration = Duration.of(60)
    """How long a client may go without reading any of a response that is ready for it."""
    keep_alive_timeout: Duration = Duration.of(75)
    """Idle client connections are closed after this time."""
    first_byte_timeout: Duration = Duration.of(CallPolicy().first_byte)
    """How long a function may take to start its response. Its annotation `com.hilbert.timeout.first-byte` overrides this."""
    idle_timeout: Duration = Duration.of(CallPolicy().idle)
    """How long a response may pause once it has started. `com.hilbert.timeout.idle` overrides this; 0 means no limit."""
    total_timeout: Duration = Duration.of(CallPolicy().total)
    """How long a whole call may take. `com.hilbert.timeout.total` overrides this; 0 means no limit, so live streams are never cut."""
    activation_timeout: Duration = Duration.of(CallPolicy().activation)
    """How long a call waits for a free replica. `com.hilbert.timeout.activation` overrides this."""
    queue_length: int = CallPolicy().queue_length
    """How many calls to one function may wait for a replica, per worker. `com.hilbert.queue-length` overrides this."""
    drain_timeout: Duration = Duration.of(30)
    """How long a stopping worker waits for the calls it is handling."""
    handover_timeout: Duration = Duration.of(3600)
    """How long a worker replaced by a rolling restart may finish the calls, streams and WebSockets it is handling."""
    access_log: bool = False
    """Write one structured log line per call to stderr."""


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What runs the functions."""

    name: Literal["host", "memory", "kubernetes"] = "host"
    """`host` runs functions on this machine, `kubernetes` in a cluster; `memory` is for tests."""
    runtime: Literal["process"] = "process"
    """How `host` runs a replica: `process` starts each as a sandboxed process."""
    default_namespace: str = DEFAULT_NAMESPACE
    """Namespace of functions deployed without one."""
    grace: Duration = Duration.of(30)
    """How long a stopping replica may take to finish its calls. A function with a longer `write_timeout` has that, except when the platform stops."""
    drain_delay: Duration = Duration.of(0.5)
    """Time between taking a replica out of the routes and telling it to stop."""
    start_timeout: Duration = Duration.of(60)
    """How long a replica may take to become ready before it counts as failed."""
    max_replicas: int = 100
    """Maximum number of replicas of one function on this machine."""


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
    """Of how many NATS servers each keeps all queued calls: 3 in a cluster of three. What is there already keeps its number."""
    schedules: bool = True
    """Call functions at the times that their annotation `schedule` says. Turn it off where a cron-connector does this for all of them."""
    private_callbacks: bool = False
    """Allow call-backs to private networks (10.0.0.0/8 and the like). This machine and link-local addresses are never called."""


class ScalingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Scaling by load, and to zero (the labels `com.openfaas.scale.*`)."""

    by_load: bool = True
    """Change the replicas of functions by their load. When off, functions still go to zero and wake."""
    default_target: int = 50
    """Load for one replica of a function that names none (`com.openfaas.scale.target`)."""
    maintain_min: bool = False
    """Raise a function that has fewer replicas than its least, also when it has no load."""
    prometheus_url: str = ""
    """Prometheus server, such as `http://127.0.0.1:9090`, that measures loads of your own: a function whose `com.openfaas.scale.type` is `NAME` scales by `job:function_current_load:sum{scaling_type="NAME"}`. Empty: such functions keep their count."""


class ProcessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The process runtime."""

    sandbox: Literal["auto", "bubblewrap", "landlock", "process"] = "auto"
    """`auto` picks the strongest sandbox that works on this machine. If you name one that does not work, the gateway refuses to start."""
    log_bytes: Quantity = Quantity.parse("4Mi")
    """Maximum size of the log kept for each replica."""
    network_pool: str = "10.213.0.0/16"
    """Addresses of replicas, where Hilbert runs as root: a private IPv4 network (/28 to /16) that nothing else here uses."""


class TenancySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How far namespaces on this machine are kept apart."""

    isolation: Literal["auto", "strict", "single-owner"] = "auto"
    """`strict` starts functions only where every isolation promise holds; `single-owner` takes what this machine offers, for namespaces that trust each other. `auto` is `strict` on a new installation that can hold it, and stays what it was."""


class DefaultLimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica on this machine may use where neither its function nor its namespace says. 0 is no limit."""

    memory: Quantity = Quantity.parse("512Mi")
    """Bytes, all its processes together."""
    cpu: Quantity = Quantity.parse("2")
    """Cores. Below that, replicas share the machine evenly, and give way to the platform."""
    processes: int = 512
    """Processes and threads."""
    open_files: int = 16384
    """Open files of one process."""
    scratch: Quantity = Quantity.parse("256Mi")
    """Bytes in `/tmp`, and half as much each in `/dev/shm` and in the rest, where the sandbox has folders of its own. Elsewhere, bytes in `TMPDIR`: a replica with more is ended."""


class ImageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Container images on this machine."""

    pull_policy: Literal["auto", "Always", "IfNotPresent", "Never"] = "auto"
    """When a registry is asked, as on Kubernetes. `auto` asks for `latest` each time a function is deployed, and for other tags when the image is not here. What was built or loaded here is used as it is."""
    credentials: str = ""
    """File with logins to registries, as docker's `config.json` has them under `auths`. They are used for every namespace."""
    mirrors: str = ""
    """Comma-separated registries that are asked first, such as `docker.io=mirror.example.com/hub`."""
    ca_file: str = ""
    """Certificate authorities to trust for registries, in addition to the system's."""
    insecure_registries: str = ""
    """Comma-separated registries (`127.0.0.1:5000`) that speak plain HTTP."""
    private_registries: str = ""
    """Comma-separated registries with addresses on private networks or on this machine. Others are not connected to there, since tenants choose the names of images."""
    max_size: Quantity = Quantity.parse("8Gi")
    """Maximum size of an unpacked image."""
    namespace_size: Quantity = Quantity.parse("32Gi")
    """Maximum size of the images of one namespace. Pulled images that no replica uses make room first, the ones that were used least recently."""
    access_time: Duration = Duration.of(86_400)
    """How long a registry's yes counts, where an image is here already because another namespace pulled it."""


class IamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Single sign-on."""

    public_url: str = ""
    """URL by which clients know this gateway, such as `https://functions.example.com`: the issuer of its tokens. Empty: the address that it listens on. A change makes its tokens invalid."""


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The audit log, and the webhook that is told of it."""

    max_size: Quantity = Quantity.parse("1Gi")
    """Maximum size of the log. The oldest records beyond it are removed."""
    max_age: Duration = Duration.of(365 * 86_400)
    """How long records are kept, if there is room."""
    webhook_url: str = ""
    """URL that gets each record as an event, as OpenFaaS sends them (`api_access`). Empty: none."""
    webhook_secret_file: str = ""
    """File with the secret that signs what is sent (`X-Openfaas-Signature-256`)."""


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


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The platform's own log, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level to write."""
    form: Literal["auto", "console", "json"] = "auto"
    """`auto` writes readable text to a terminal and JSON otherwise."""


class PathSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Folders. Both are created with mode 0700."""

    state_dir: str = ""
    """Data that must survive a reboot. Empty: `/var/lib/hilbert` for root, else `~/.local/share/hilbert` (XDG)."""
    run_dir: str = ""
    """Sockets. Keep the path short, because the kernel limits socket paths to 107 bytes. Empty: a folder of your own, derived from `state_dir`."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings."""

    gateway: GatewaySettings = GatewaySettings()
    provider: ProviderSettings = ProviderSettings()
    queue: QueueSettings = QueueSettings()
    scaling: ScalingSettings = ScalingSettings()
    process: ProcessSettings = ProcessSettings()
    default_limits: DefaultLimitSettings = DefaultLimitSettings()
    tenancy: TenancySettings = TenancySettings()
    images: ImageSettings = ImageSettings()
    iam: IamSettings = IamSettings()
    audit: AuditSettings = AuditSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    log: LogSettings = LogSettings()
    paths: PathSettings = PathSettings()

    @property
    def default_namespace(self) -> NamespaceName:
        return parse_namespace_name(self.provider.default_namespace)


ALIASES: Final[Mapping[str, str]] = {
    "port": "gateway.port",
    "read_timeout": "gateway.read_timeout",
    "write_timeout": "gateway.write_timeout",
    "upstream_timeout": "gateway.first_byte_timeout",
    "basic_auth": "gateway.basic_auth",
    "secret_mount_path": "gateway.secret_mount_path",
    "base_host": "iam.public_url",
    "function_namespace": "provider.default_namespace",
    "write_request_uri": "gateway.access_log",
    "HILBERT_STATE_DIR": "paths.state_dir",
    "HILBERT_RUN_DIR": "paths.run_dir",
}
"""Environment names of OpenFaaS's gateway and provider, and short ones of ours, for a setting each."""


class Loaded(msgspec.Struct, frozen=True):
    """Settings with where each value that is not a default came from (`gateway.port` -> `environment (port)`)."""

    settings: Settings
    origins: Mapping[str, str]


def load(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Loaded:
    """Read all sources. `flags` maps dotted names to values; None values are passed over. Raises `InvalidSettings`."""
    env = dict(os.environ) if environ is None else dict(environ)
    given: dict[str, tuple[object, str]] = {}
    path = file or _find_file(env)
    if path is not None:
        given.update(_from_file(path))
    given.update(_from_environment(env))
    for key, value in (flags or {}).items():
        if value is not None:
            given[key] = (value, "flag")
    tree: dict[str, dict[str, object]] = {}
    kinds = _kinds()
    for key, (value, origin) in given.items():
        if key not in kinds:
            raise InvalidSettings(f"unknown setting {key} from {origin}", hint=nearest(key, kinds))
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = _typed(key, value, kinds[key], origin)
    sections = get_type_hints(Settings)
    settings = Settings(**{name: sections[name](**values) for name, values in tree.items()})
    _check(settings)
    return Loaded(settings=_with_paths(settings, env), origins={key: origin for key, (_, origin) in given.items()})


def environment() -> Mapping[str, str]:
    """The environment of this process, for the command line and the client, which are told about it as an argument."""
    return dict(os.environ)


def inherited_environment() -> dict[str, str]:
    """The environment for child processes of the platform: this one's, without variables that steer the interpreter."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def known_settings() -> Mapping[str, tuple[Any, object]]:
    """Every setting's dotted name with its type and default, in order."""
    defaults = Settings()
    return {
        key: (kind, getattr(getattr(defaults, key.partition(".")[0]), key.partition(".")[2]))
        for key, kind in _kinds().items()
    }


@functools.cache  # A command asks several times, and each answer takes a millisecond to make.
def _kinds() -> Mapping[str, Any]:
    return {
        f"{section}.{name}": kind
        for section, struct in get_type_hints(Settings).items()
        for name, kind in get_type_hints(struct).items()
    }


def _find_file(env: Mapping[str, str]) -> Path | None:
    if named := env.get("HILBERT_CONFIG"):
        return Path(named)
    config_home = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "/")) / ".config")
    for candidate in (config_home / "hilbert" / "hilbert.toml", Path("/etc/hilbert/hilbert.toml")):
        if candidate.is_file():
            return candidate
    return None


def _from_file(path: Path) -> dict[str, tuple[object, str]]:
    import tomllib  # Most start without a file, and quickly.

    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InvalidSettings(f"cannot read {path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidSettings(f"{path}: {exc}") from exc
    found: dict[str, tuple[object, str]] = {}
    for section, values in tree.items():
        if not isinstance(values, dict):
            raise InvalidSettings(
                f"{path}: {section} is not in a section", hint="write it in a section such as [gateway]"
            )
        found.update({f"{section}.{name}": (value, str(path)) for name, value in values.items()})
    return found


def _from_environment(env: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    for name, key in ALIASES.items():
        if env.get(name):
            found[key] = (env[name], f"environment ({name})")
    for name, value in env.items():
        if name.startswith("HILBERT_") and "__" in name:
            section, _, rest = name.removeprefix("HILBERT_").lower().partition("__")
            found[f"{section}.{rest}"] = (value, f"environment ({name})")
    return found


def _typed(key: str, value: object, kind: Any, origin: str) -> object:
    """`value` as `kind`, whether it came as text or typed. Raises `InvalidSettings`."""
    if isinstance(kind, type) and isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
        return value
    text = str(value)
    try:
        if get_origin(kind) is Literal:
            if text not in get_args(kind):
                raise Invalid(f"must be one of {', '.join(get_args(kind))}, not {text!r}")
            return text
        return _PARSERS[kind](text)
    except Invalid as exc:
        raise InvalidSettings(f"{key}: {exc.message} (from {origin})") from exc


_PARSERS: Final[Mapping[Any, Callable[[str], object]]] = {
    bool: parse_boolean,
    int: parse_whole,
    str: str,
    Duration: lambda text: Duration.parse(text, bare_seconds=True),
    Quantity: Quantity.parse,
}


def _check(settings: Settings) -> None:
    gateway, provider = settings.gateway, settings.provider
    for key, port in (("gateway.port", gateway.port), ("gateway.metrics_port", gateway.metrics_port)):
        if not 0 <= port <= 65535:
            raise InvalidSettings(f"{key}: must be from 0 to 65535, not {port}")
    for key, count, least in (
        ("gateway.workers", gateway.workers, 0),
        ("gateway.max_header_bytes", gateway.max_header_bytes, 1024),
        ("gateway.max_header_lines", gateway.max_header_lines, 16),
        ("gateway.max_connections", gateway.max_connections, 1),
        ("gateway.max_source_connections", gateway.max_source_connections, 0),
        ("gateway.queue_length", gateway.queue_length, 0),
        ("provider.max_replicas", provider.max_replicas, 1),
        ("scaling.default_target", settings.scaling.default_target, 1),
        ("queue.slots", settings.queue.slots, 1),
        ("queue.namespace_slots", settings.queue.namespace_slots, 1),
        ("queue.function_slots", settings.queue.function_slots, 1),
        ("queue.attempts", settings.queue.attempts, 1),
        ("default_limits.processes", settings.default_limits.processes, 0),
        ("default_limits.open_files", settings.default_limits.open_files, 0),
    ):
        if count < least:
            raise InvalidSettings(f"{key}: must be at least {least}, not {count}")
    if gateway.trusted_proxies:
        check_networks("gateway.trusted_proxies", gateway.trusted_proxies)
    if settings.iam.public_url:
        check_url("iam.public_url", settings.iam.public_url)
    if settings.audit.webhook_url:
        check_url("audit.webhook_url", settings.audit.webhook_url)
    if gateway.port and gateway.port == gateway.metrics_port and gateway.host == gateway.metrics_host:
        raise InvalidSettings("gateway.metrics_port: must differ from gateway.port")
    try:
        parse_namespace_name(provider.default_namespace)
    except Invalid as exc:
        raise InvalidSettings(f"provider.default_namespace: {exc.message}") from exc


def _with_paths(settings: Settings, env: Mapping[str, str]) -> Settings:
    state, run = settings.paths.state_dir, settings.paths.run_dir
    if not state:
        home = env.get("XDG_DATA_HOME") or str(Path(env.get("HOME", "/")) / ".local" / "share")
        state = "/var/lib/hilbert" if os.geteuid() == 0 else f"{home}/hilbert"
    state = str(Path(state).absolute())
    if not run:
        digest = f"{short_digest(state):08x}"
        base = env.get("XDG_RUNTIME_DIR") if os.geteuid() != 0 else "/run"
        run = f"{base}/hilbert-{digest}" if base else f"/tmp/hilbert-{os.geteuid()}-{digest}"  # noqa: S108 - checked on use
    return msgspec.structs.replace(settings, paths=PathSettings(state_dir=state, run_dir=str(Path(run).absolute())))
