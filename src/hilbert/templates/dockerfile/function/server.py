"""Answers HTTP on port 8080; /_/health says that it can."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer(path, body):
    """Status and body for one call."""
    if path in ("/_/health", "/_/ready"):
        return 200, b"OK"
    return 200, b"Hello, " + (body or b"world") + b"!\n"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, content = answer(self.path, body)
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
