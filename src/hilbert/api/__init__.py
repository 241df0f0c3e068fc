"""The REST API over the control plane: authentication, one module per resource, errors, metrics, pages.

What belongs here: HTTP. One table maps errors to statuses (`problems`), authentication wraps the whole router (`door`).
What does not: decisions about functions and namespaces (`hilbert.control`), formats (`hilbert.wire`).
"""
