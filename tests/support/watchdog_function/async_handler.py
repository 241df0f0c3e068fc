"""The same function as an asynchronous handler."""

import asyncio
import os
import sys
from pathlib import Path


async def handle(event, context):
    match event.path:
        case "/wait":
            Path("started").touch()
            while not Path("release").exists():
                await asyncio.sleep(0.005)
            return "done"
        case "/tree":
            child = await asyncio.create_subprocess_exec("sleep", "1000")
            Path("tree.part").write_text(f"{child.pid} {child.pid}")
            Path("tree.part").rename("tree")
            try:
                await child.wait()
            except asyncio.CancelledError:
                child.kill()
                raise
        case "/flood":
            Path("started").touch()
            while not Path("release").exists():
                sys.stderr.write("0123456789\n" * 10000)
                await asyncio.sleep(0)
            return "done"
        case "/say":
            print("to the log", file=sys.stderr)
            return "said"
        case "/env":
            return "".join(f"{name}={value}\n" for name, value in os.environ.items())
        case "/fail":
            print("about to fail", file=sys.stderr)
            raise RuntimeError("on purpose")
    return event.body
