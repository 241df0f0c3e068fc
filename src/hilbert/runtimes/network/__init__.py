"""A network of its own for each replica: what may leave it, what can be reached in it, and how it is found again.

`survey` says what this machine can do. `Network` (in `client`) is what a runtime uses; it talks to the keeper, a process
that enters the replicas' network namespaces, holds what listens there, and outlives the control process.
The kernel removes a namespace with its last process and its last socket, so that nothing has to be tidied up after a crash.
"""
