"""Makes queued calls: which one next, how, what its answer means, and who is told.

What belongs here: everything between a `Queue` and a call of the data plane. Decisions (`fair`, `concurrency`,
`retries`) are pure; `dispatcher` carries them out.
"""
