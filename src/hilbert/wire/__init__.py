"""Bodies and headers of the REST API exactly as on the wire, and their conversion to and from `core.model`.

What belongs here: one module per format, with its structs, its bounds and its conversions. Reading is as tolerant as
Go's JSON decoder (unknown fields are passed over, `null` is the empty value); writing omits what Go's `omitempty` omits.
What does not: HTTP statuses, I/O, the files that users write (`hilbert.stack`).
"""
