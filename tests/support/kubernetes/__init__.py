"""A strict double of a Kubernetes API server, for tests.

    async with ApiServer() as cluster:
        cluster.url                     # http://127.0.0.1:PORT
        cluster.kubeconfig              # path of the administrator's kubeconfig; works for kubectl, lightkube, ...
        cluster.kubeconfig_for("system:serviceaccount:hilbert:gateway")   # RBAC rules in the store decide what it may do
        cluster.token("jane")           # a bearer token
        cluster.requests                # every request: method, path, query, headers, user, status, watch
        cluster.objects("pods", "ns")   # what is stored; cluster.object("deployments", "f", "ns", group="apps")
        cluster.put({...})              # create an object past authorization
        cluster.chaos                   # knobs, see `chaos.Chaos`: fail, throttle, latency, drop, duplicate, reorder, delay,
                                        # close_watches, expire_watches, forget, muted, reject_tokens, bookmark_seconds
        await cluster.refuse()          # the server is away: connections are dropped and refused ...
        await cluster.listen()          # ... and back, on the same port, with all it knew

It listens on loopback in the event loop of the test, so blocking clients (kubectl) must run in a subprocess that is awaited.
Every object that is written is checked against the official JSON schemas. Its semantics are pinned by the transcripts of a
real server in `tests/data/kubernetes`, which `tests/contract/kubernetes_double` replays.
"""

from __future__ import annotations

from support.kubernetes.access import User
from support.kubernetes.chaos import Chaos, Fault
from support.kubernetes.server import ApiServer

__all__ = ["ApiServer", "Chaos", "Fault", "User"]
