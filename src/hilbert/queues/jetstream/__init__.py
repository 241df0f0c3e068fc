"""A queue for several gateways, in a log of NATS JetStream.

Every change is an entry of one log, in one order. Each gateway makes the same changes, one after the other, to a copy of
its own: the tables and transactions of `queues.sqlite`, in a file that need not survive. An entry is acknowledged once
NATS has it on disk, and its outcome is what the copy says when it has come to that entry.
So all that a change does is one step, whatever it touches, and all gateways agree on it.

`changes` is what an entry says, `log` where entries and snapshots are kept, `copy` what they amount to, `queue` puts them
together.
"""

from hilbert.queues.jetstream.queue import JetStreamQueue

__all__ = ["JetStreamQueue"]
