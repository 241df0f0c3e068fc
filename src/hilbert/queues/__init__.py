"""Where calls wait that are to be made later.

What belongs here: implementations of `core.ports.Queue`. They know no HTTP, and nothing of how calls are made.
"""
