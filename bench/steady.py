"""Requests on schedule: `python -m bench.steady RATE COUNT PORT/PATH ...` prints seconds for each, as JSON."""

from __future__ import annotations

import gc
import json
import socket
import sys
import time


def main(rate: float, count: int, targets: list[str]) -> list[list[float]]:
    """Each target in turn over one kept connection, `rate` a second altogether, `count` for each."""
    ports, paths = zip(*(target.split("/", 1) for target in targets), strict=True)
    requests = [b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() for path in paths]
    socks = [socket.create_connection(("127.0.0.1", int(port))) for port in ports]
    for sock in socks:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found: list[list[float]] = [[] for _ in targets]
    gc.disable()
    due = time.perf_counter()
    for number in range(count * len(targets)):
        at = number % len(targets)
        due += 1 / rate
        while (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        began = time.perf_counter()
        socks[at].sendall(requests[at])
        data = socks[at].recv(65536)
        found[at].append(time.perf_counter() - began)
        assert data.startswith(b"HTTP/1.1 200"), data[:200]
    return found


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])))
