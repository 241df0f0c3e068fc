"""Edit `handle`: it gets the call and returns the answer."""


def handle(event, context):
    """`event` has body, headers, method, query and path; `context` has hostname, name and namespace."""
    name = event.query.get("name", "world")
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "text/plain; charset=utf-8"},
        "body": f"Hello, {name}!\n",
    }
