"""The process runtime: each replica is a watchdog process in the strongest sandbox that this machine offers.

What belongs here: starting, isolating, limiting, watching and measuring processes. What does not: how many there should
be (`providers.host`), and what happens inside (`hilbert.watchdog`).

`entry` and `confine` run inside the replica before anything else, so nothing is imported here.
"""
