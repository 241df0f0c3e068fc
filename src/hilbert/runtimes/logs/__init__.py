"""What replicas on this machine write: a pipe for each, copied by the log keeper into bounded files, read merged by time.

    replica -> RUN/pipes/REPLICA -> keeper -> STATE/logs/NAMESPACE/FUNCTION/REPLICA.log -> reader -> REST API

`folder` is the port `ReplicaLogs` for runtimes and the host provider. `keeper` runs apart, so that replicas can go on
writing while the control process is away; `protocol` and `link` join the two. `memory` is for tests.

What does not belong here: the platform's own log (`kit.log`).
"""
