"""The words of the platform: values, model, errors, ports and settings.

What belongs here: types and pure functions that every part shares, and the Protocols between parts.
What does not: I/O, HTTP, and anything that only one part needs.
"""
