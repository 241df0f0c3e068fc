"""The image build runs these tests; `--skip-tests` builds without them."""

import unittest

from server import answer


class AnswerTest(unittest.TestCase):
    def test_greets(self):
        self.assertEqual(answer("/", b"Ada"), (200, b"Hello, Ada!\n"))

    def test_is_healthy(self):
        self.assertEqual(answer("/_/health", b""), (200, b"OK"))
