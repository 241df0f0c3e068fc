"""Settings of the gateway: what it listens on, what it takes from clients, how long it waits."""

from __future__ import annotations

import msgspec

from hilbert.core.model import CallPolicy
from hilbert.core.values import Duration, Quantity


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
