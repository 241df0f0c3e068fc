"""What all runtimes of one host share: a replica's handle, folder, limits, user, and everything that is done once it runs.

What belongs here: finding a replica again, asking how it is, telling it to stop, cleaning up after it. What does not: how it
is started (`runtimes.process`, `runtimes.oci`).
"""
