"""How a function and its namespace are written as one word."""

from __future__ import annotations

from hilbert.cli.frame.failures import UsageError


def full_name(name: str, namespace: str) -> str:
    """As functions are called: `NAME.NAMESPACE`, or `NAME` in the default namespace."""
    return f"{name}.{namespace}" if namespace else name


def split_name(name: str, namespace: str) -> tuple[str, str]:
    """`NAME.NAMESPACE` taken apart, where --namespace says nothing else. Raises `UsageError` if they disagree."""
    head, dot, tail = name.rpartition(".")
    if not dot or not head:
        return name, namespace
    if namespace and namespace != tail:
        raise UsageError(f"{name} names the namespace {tail}, but --namespace says {namespace}")
    return head, tail
