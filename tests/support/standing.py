"""The double as a cluster that stands somewhere: a process of its own, known by a kubeconfig file alone.

`python -m support.standing AUTHORITY IMAGE FOLDER` (with `tests` on the path) speaks HTTPS with the certificate
AUTHORITY, runs watchdogs with their files in FOLDER for Pods of IMAGE, finds no other image, prints the path of the
administrator's kubeconfig, and runs until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from kubernetes_double import ApiServer, Json, Outcome, scripts
from support.cluster import watchdog


async def main(authority: str, image: str, folder: str) -> None:
    async with ApiServer(authority=Path(authority)) as server:
        server.images[image] = watchdog(Path(folder))

        def absent(pod: Json) -> Outcome | None:
            asked = pod["spec"]["containers"][0]["image"]
            return None if asked == image else scripts.absent(asked)

        server.images.rules.append(absent)
        server.metrics.enabled = True
        print(server.kubeconfig, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        assert server.controllers.errors == []


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
