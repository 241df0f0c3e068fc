"""What turns specs into running functions: one package or module per provider.

What belongs here: implementations of `core.ports.Provider`, and what they share (`quota`, `rules`, `hub`).
What does not: HTTP of the platform, routing, scaling decisions, and starting a replica (`hilbert.runtimes`).
`docs/concepts/providers.md` compares them.
"""
