"""The REST API over the control plane: each endpoint declared once, in the file of its resource; errors, metrics, pages.

What belongs here: HTTP. `docs/internals/api.md` has the modules and the way of a request.
What does not: decisions about functions and namespaces (`hilbert.control`), who may do what (`hilbert.iam`), formats
(`hilbert.wire`).
"""
