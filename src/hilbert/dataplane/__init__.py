"""The data plane: the proxy workers that carry function calls, and the feed that tells them where.

What belongs here: everything on the way of a warm or waiting call. What does not: deciding what runs (`providers`,
`control`), and HTTP/1.1 itself (`kit.http1`).
"""
