"""Benchmarks side by side with peers: `python -m bench`, or `make bench`.

What belongs here: everything that starts, loads and measures; one module for each question. Results go to
`docs/benchmarks.md`, written by the run and never by hand. Peers of the worker are HAProxy and nginx from Debian's
packages and Envoy from PyPI's, peers of Python handlers are Python servers from PyPI's; each runs as one process on one core.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT / "tests"))  # The harness that starts real workers is the tests' own.
