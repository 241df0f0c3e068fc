"""The files that a user writes: `stack.yaml`, `template.yml`, `store.json`; their text, substitution, schema and edits.

What belongs here: reading and checking those files, from disk or from a URL.
What does not: bodies of the REST API (`hilbert.wire`), building (`hilbert.builder`).
"""
