"""Answers with what it got."""


def handle(event, context):  # noqa: ARG001 - the platform passes both
    kind = event.headers.get("Content-Type", "application/octet-stream")
    return {"body": event.body, "headers": {"Content-Type": kind}}
