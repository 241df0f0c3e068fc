"""The same function as a Python handler."""

import os
import subprocess
import sys
import time
from pathlib import Path


def handle(event, context):
    match event.path:
        case "/wait":
            Path("started").touch()
            while not Path("release").exists():
                time.sleep(0.005)
            return "done"
        case "/tree":
            child = subprocess.Popen(["sleep", "1000"])
            Path("tree.part").write_text(f"{child.pid} {child.pid}")
            Path("tree.part").rename("tree")
            child.wait()
        case "/flood":
            Path("started").touch()
            while not Path("release").exists():
                sys.stderr.write("0123456789\n" * 10000)
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
