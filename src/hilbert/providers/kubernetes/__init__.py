"""Functions as Deployments on a Kubernetes cluster, which itself is the state.

Five rooms, each of which imports only those below it:

- `install`: the objects of an installation, the rights it asks for, and applying them.
- `keep`: what we write: Deployments of functions, tenants, secrets, the status of a Function.
- `view`: what the cluster says, kept in memory: functions, endpoints, logs, usage.
- `render`: from a spec or a namespace's annotations to objects. Pure.
- `cluster`: the API server: requests, watches, errors, the Lease, and the structs of objects.

`provider` puts them together behind the ports. Nothing else in Hilbert imports lightkube, and this package uses only its
configuration and authentication (see `cluster.connect`).
"""
