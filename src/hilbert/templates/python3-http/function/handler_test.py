"""Every build runs these tests; `--skip-tests` builds without them."""

import unittest
from types import SimpleNamespace

from .handler import handle


class HandlerTest(unittest.TestCase):
    def test_greets_by_name(self):
        event = SimpleNamespace(body=b"", headers={}, method="GET", path="/", query={"name": "Ada"})
        answer = handle(event, SimpleNamespace(hostname="test"))
        self.assertEqual(answer["statusCode"], 200)
        self.assertEqual(answer["body"], "Hello, Ada!\n")


if __name__ == "__main__":
    unittest.main()
