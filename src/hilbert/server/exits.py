"""Exit statuses that the supervisor and its children agree on."""

from typing import Final

START_FAILED: Final = 3
"""It makes no sense to start again: settings, permissions or another gateway are in the way."""
