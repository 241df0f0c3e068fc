"""The pages that a browser shows: static modules, and nothing else. A client of the public API.

What does not belong here: anything that a client of the REST API could not do.
"""
