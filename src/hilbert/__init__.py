"""Hilbert: an open functions platform with many namespaces that speaks the OpenFaaS API."""

__version__ = "0.1.0"
