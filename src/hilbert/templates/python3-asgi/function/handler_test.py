"""Every build runs these tests; `--skip-tests` builds without them."""

import asyncio
import unittest

from .handler import app


def call(path, query=""):
    """One GET request to the application; its status and body."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [],
        "client": None,
        "server": None,
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


class HandlerTest(unittest.TestCase):
    def test_greets_by_name(self):
        self.assertEqual(call("/", "name=Ada"), (200, b"Hello, Ada!\n"))

    def test_other_paths_are_not_found(self):
        self.assertEqual(call("/elsewhere")[0], 404)


if __name__ == "__main__":
    unittest.main()
