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
        cluster.images                  # what becomes of Pods, by image: `cluster.images["x:1"] = scripts.crashing(3)`
        cluster.metrics                 # `cluster.metrics.enabled = True` serves metrics.k8s.io; usage by name
        cluster.pace                    # how long things take, see `controllers.pace.Pace`
        cluster.controllers.errors      # what went wrong inside the double: assert that it is empty
        await cluster.controllers.settled()
        await cluster.refuse()          # the server is away: connections are dropped and refused ...
        await cluster.listen()          # ... and back, on the same port, with all it knew

`python -m support.kubernetes` (with `tests` on the path) runs it as a process of its own.

It listens on loopback in the event loop of the test, so blocking clients (kubectl) must run in a subprocess that is awaited.
Its controllers run in miniature: namespaces (default service account, Terminating), Deployments, ReplicaSets, a scheduler, a
kubelet, EndpointSlices, garbage collection, quota. A Pod runs and becomes ready at once unless `images` says otherwise; with
`Outcome(process=Process(argv))` a real process is started with a listening socket at the Pod's own loopback address
(127.x.y.z, port of the container), `HILBERT_LISTEN_FD`, the Pod's environment, and its secrets under `HILBERT_SECRETS_DIR`.

Every object that is written is checked against the official JSON schemas. Its semantics are pinned by the transcripts of a
real server in `tests/data/kubernetes`, which `tests/contract/kubernetes_double` replays.
"""

from __future__ import annotations

from support.kubernetes.chaos import Chaos, Fault
from support.kubernetes.controllers.pace import Pace
from support.kubernetes.controllers.scripts import Outcome, Process
from support.kubernetes.rbac import User
from support.kubernetes.server import ApiServer

__all__ = ["ApiServer", "Chaos", "Fault", "Outcome", "Pace", "Process", "User"]
