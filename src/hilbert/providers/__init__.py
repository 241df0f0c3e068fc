"""What runs the functions: one package or module per provider, and the runtimes below the host provider.

What belongs here: implementations of `core.ports.Provider` and `core.ports.Runtime`, and what they share (`logs`).
What does not: HTTP of the platform, routing, scaling decisions. `docs/concepts/providers.md` compares them.
"""
