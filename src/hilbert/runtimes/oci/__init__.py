"""The runtime of container images: each replica is an image's own program in bubblewrap, with no daemon.

What belongs here: making a root of an image, its program, user and environment, and starting it. What does not: where images
come from (`hilbert.images`), and what is done with a replica once it runs (`runtimes.replica`).

`launcher` and `mounts` run in a process of their own, one for each platform, which starts every replica.
"""
