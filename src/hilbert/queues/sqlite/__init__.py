"""A queue in one SQLite file.

`schema` is how the file looks, `transactions` what happens inside one transaction, `reading` what is read,
`reserve` what is kept back for a full disk, `queue` puts them together.
"""

from hilbert.queues.sqlite.queue import SqliteQueue

__all__ = ["SqliteQueue"]
