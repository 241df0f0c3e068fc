"""Edit `handle`: it gets the body of the call as text and returns the answer."""


def handle(req):
    return f"Hello, {req or 'world'}!"
