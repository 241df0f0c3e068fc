"""What the control plane decides: whose namespace it is, which route a function has, when a function wakes up.

What belongs here: policy over the ports of `hilbert.core`, with time and providers as arguments.
What does not: HTTP (`hilbert.api`), starting replicas (`hilbert.providers`), carrying calls (`hilbert.dataplane`).
"""
