"""The double as a process of its own: `python -m kubernetes_double` (with `tests` on the path).

Prints one line of JSON, `{"url": ..., "kubeconfig": ...}`, once it listens, and runs until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

import uvloop

from kubernetes_double.controllers import NAMES
from kubernetes_double.server import ApiServer


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m kubernetes_double", description=__doc__)
    parser.add_argument("--without", default="", help=f"controllers that do not run, comma-separated: {sorted(NAMES)}")
    parser.add_argument("--window", type=int, default=20_000, help="events that each resource remembers")
    options = parser.parse_args()
    chosen = NAMES - frozenset(options.without.split(","))
    async with ApiServer(controllers=chosen, window=options.window) as server:
        print(json.dumps({"url": server.url, "kubeconfig": str(server.kubeconfig)}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
