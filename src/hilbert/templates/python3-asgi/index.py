"""Serves the ASGI application in function/handler.py to the watchdog. Edit the handler, not this file."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
HANDLER = os.path.join(HERE, "function", "handler.py")


def check() -> None:
    """Find mistakes of syntax without running anything."""
    import traceback

    with open(HANDLER, "rb") as file:
        source = file.read()
    try:
        compile(source, "handler.py", "exec")
    except (SyntaxError, ValueError) as mistake:
        sys.exit("".join(traceback.format_exception_only(mistake)))


def listener(upstream: str) -> dict:
    """Where to listen, from the watchdog's `upstream_url`: unix:NAME (in TMPDIR), unix:/PATH or http://HOST:PORT."""
    if upstream.startswith("unix:"):
        return {"uds": os.path.join(os.environ.get("TMPDIR") or "/tmp", upstream.removeprefix("unix:"))}
    host, _, port = upstream.partition("//")[2].strip("/").rpartition(":")
    return {"host": host or "127.0.0.1", "port": int(port)}


def serve() -> None:
    import uvicorn

    sys.path[:0] = [os.path.dirname(HANDLER), HERE]
    from function.handler import app

    uvicorn.run(
        app,
        **listener(os.environ.get("upstream_url", "http://127.0.0.1:5000")),
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_keep_alive=30,
    )


if __name__ == "__main__":
    check() if "--check" in sys.argv else serve()
