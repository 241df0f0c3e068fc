"""Edit `handle`: it gets the body of the call as text; what it returns is the answer."""


def handle(req):
    return f"Hello, {req or 'world'}!"
