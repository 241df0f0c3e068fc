"""Functions as Deployments on a Kubernetes cluster, which itself is the state.

What belongs here: everything that knows Kubernetes. `render`, `profiles`, `tenant`, `functions` and `status` are pure;
`api` and `watch` speak to the API server; `provider` puts them together behind the ports. Nothing else in Hilbert
imports lightkube, and this package uses only its configuration and authentication (see `api`).
"""
