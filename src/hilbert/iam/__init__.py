"""Who asks, and what they may do.

What belongs here: credentials and the identities that they prove, and pure decisions on rights.
What does not: HTTP (`hilbert.api`), namespaces as such (`hilbert.control.tenancy`).
"""
