"""The process runtime: each replica is a watchdog process in the strongest sandbox that this machine offers.

What belongs here: isolating and starting processes. What does not: what is done with a replica once it runs
(`runtimes.replica`), how many there should be (`providers.host`), and what happens inside (`hilbert.watchdog`).

`entry` and `confine` run inside the replica before anything else, so nothing is imported here.
"""
