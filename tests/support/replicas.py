"""Replicas that do what a test tells them: threads with blocking sockets, each request handed to a script."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from hilbert.core.model import Endpoint
from support.wire import Closed, Message, Wire

_numbers = itertools.count(1)

Script = Callable[["Call"], None]


class Call:
    """One request as a replica got it: the head is read, the body is the script's to read."""

    def __init__(self, wire: Wire, head: Message) -> None:
        self.wire = wire
        self.head = head

    def body(self) -> bytes:
        """Read the body, if it was not read yet."""
        if not self.head.body:
            self.wire.body_of(self.head, default=0)
        return self.head.body

    def answer(self, body: bytes = b"", *, status: int = 200, headers: str = "") -> None:
        """A response with Content-Length. `headers` are whole lines."""
        lines = "".join(f"{line}\r\n" for line in headers.split("\n") if line)
        self.wire.send(f"HTTP/1.1 {status} Any\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def echo(call: Call) -> None:
    """Answers with the request's body, or `hello`."""
    call.answer(call.body() or b"hello")


def mirror(call: Call) -> None:
    """Answers with the request as it came: head, empty line, body."""
    call.body()
    lines = [call.head.start, *(name + b": " + value for name, value in call.head.headers)]
    call.answer(b"\n".join(lines) + b"\n\n" + call.head.body)


class Replica:
    """Listens until `stop`; keeps every request it got."""

    def __init__(self, folder: Path, script: Script = echo, *, tcp: bool = False) -> None:
        self.script = script
        self.calls: list[Call] = []
        self.connections = 0
        self.greeting = b""
        """Sent on each new connection before anything is asked."""
        self._wires: list[Wire] = []
        self._number = next(_numbers)
        if tcp:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.address = f"tcp:127.0.0.1:{self._listener.getsockname()[1]}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self.address = f"unix:{folder}/r{self._number}"
            self._listener.bind(self.address[5:])
            self._listener.listen(2048)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(f"r{self._number}", self.address)

    def stop(self, *, reset: bool = False) -> None:
        """Refuse connections from now on, and close those that are open."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for wire in self._wires:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)
            if reset:
                wire.reset()
            else:
                wire.close()

    def close_idle(self) -> None:
        """Close the connections that are open, and go on listening."""
        wires, self._wires = self._wires, []
        for wire in wires:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)
            wire.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            wire = Wire(sock)
            sock.settimeout(None)
            self._wires.append(wire)
            if self.greeting:
                wire.send(self.greeting)
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: Wire) -> None:
        with contextlib.suppress(Closed, OSError, ValueError), wire:
            while True:
                call = Call(wire, wire.head())
                self.calls.append(call)
                self.script(call)
