"""A queue in one SQLite file.

`schema` is how the file looks. `transactions` and `accepting` are what happens inside one transaction, with `counting` and
`marks` for what both keep; `together` makes one piece of work of what several callers ask. `reading` is what is read, and
`answers` the methods that ask for it. `reserve` is what is kept back for a full disk. `queue` puts them together.
"""

from hilbert.queues.sqlite.queue import SqliteQueue

__all__ = ["SqliteQueue"]
