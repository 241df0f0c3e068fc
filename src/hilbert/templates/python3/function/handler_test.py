"""Every build runs these tests; `--skip-tests` builds without them."""

import unittest

from .handler import handle


class HandlerTest(unittest.TestCase):
    def test_greets_by_name(self):
        self.assertEqual(handle("Ada"), "Hello, Ada!")


if __name__ == "__main__":
    unittest.main()
