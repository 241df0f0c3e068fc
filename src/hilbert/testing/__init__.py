"""Test suites for those who write an implementation of one of Hilbert's ports.

What belongs here: suites that an implementation runs against itself with pytest and anyio, which are not installed with
Hilbert. What does not: tests of Hilbert (`tests/`).
"""

import pytest

pytest.register_assert_rewrite("hilbert.testing.harness", "hilbert.testing.provider", "hilbert.testing.tenants")
