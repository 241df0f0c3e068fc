"""Pieces that could be libraries of their own: asyncio helpers, SQLite access, HTTP/1.1 wire code, logging.

What belongs here: code that knows nothing of functions, namespaces or OpenFaaS.
"""
