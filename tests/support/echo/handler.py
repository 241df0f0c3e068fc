"""Answers with the request's body, and writes a line for each call."""


def handle(event, context):
    print(f"called with {len(event.body)} bytes", flush=True)
    return {"statusCode": 200, "body": event.body}
