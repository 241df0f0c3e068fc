"""The environment of this process. Nothing else reads it, but for the settings' loader, which is told it.

Apart from the settings, so that whoever only looks for a variable does not load them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping


def environment() -> Mapping[str, str]:
    """The environment of this process, for the command line and the client, which are told about it as an argument."""
    return dict(os.environ)


def inherited_environment() -> dict[str, str]:
    """The environment for child processes of the platform: this one's, without variables that steer the interpreter."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
