"""The same function as an HTTP server."""

import http.server
import os
import socketserver
import sys
import time
from pathlib import Path


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256


SEEN = []


class Function(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def answer(self):
        SEEN.append(f"{self.command} {self.path}\n")
        if self.path == "/fail":
            print("about to fail", file=sys.stderr, flush=True)
            self.reply(b"", 500)
        elif self.path == "/wait":
            self.body()
            Path("started").touch()
            while not Path("release").exists():
                time.sleep(0.005)
            self.reply(b"done")
        elif self.path == "/flood":
            Path("started").touch()
            while not Path("release").exists():
                sys.stderr.write("0123456789\n" * 10000)
            self.reply(b"done")
        elif self.path == "/say":
            print("to the log", file=sys.stderr, flush=True)
            self.reply(b"said")
        elif self.path == "/env":
            self.reply("".join(f"{name}={value}\n" for name, value in os.environ.items()).encode())
        elif self.path == "/die":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n")
            self.wfile.flush()
            os._exit(7)
        elif self.path == "/head":
            self.body()
            self.reply("".join(f"{name}: {value}\n" for name, value in self.headers.items()).encode())
        elif self.path == "/seen":
            self.reply("".join(SEEN).encode())
        elif self.path == "/events":
            self.events()
        elif self.path == "/socket":
            self.upgrade()
        elif self.path == "/deaf":
            self.hold()
        elif self.path == "/chunks":
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            self.wfile.write(head + b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n")
        elif self.path == "/stream":
            self.stream()
        else:
            self.reply(self.body())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer  # noqa: N815 - named by http.server

    def body(self):
        return b"".join(self.parts())

    def parts(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length") or 0)
            while left:
                part = self.rfile.read(min(left, 65536))
                left -= len(part)
                yield part

    def reply(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def stream(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in self.parts():
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            text = b"data: %d\n\n" % number
            self.wfile.write(b"%x\r\n%b\r\n" % (len(text), text))
            self.wfile.flush()
            while not Path(f"event-{number}").exists():
                time.sleep(0.005)
        self.wfile.write(b"0\r\n\r\n")

    def upgrade(self):
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", self.headers["Upgrade"])
        self.end_headers()
        self.wfile.write(b"welcome\n")
        while line := self.rfile.readline():
            self.wfile.write(line.upper())
        self.wfile.write(b"bye\n")
        self.close_connection = True

    def hold(self):
        """Keep an end of a tunnel open, whatever the other side does."""
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", self.headers["Upgrade"])
        self.end_headers()
        self.wfile.write(b"held\n")
        time.sleep(600)


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class UnixFunction(Function):
    disable_nagle_algorithm = False
    address_string = str


if "UPSTREAM_PORT" in os.environ:
    Server(("127.0.0.1", int(os.environ["UPSTREAM_PORT"])), Function).serve_forever()
else:
    UnixServer(os.environ["UPSTREAM_SOCKET"], UnixFunction).serve_forever()
