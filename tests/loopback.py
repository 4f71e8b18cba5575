"""A server on this machine with ranges, whose answers break off, hang or lie when told to."""

import contextlib
import http.server
import threading
import time


class Server(http.server.ThreadingHTTPServer):
    """Serves `contents`, by name; what is listed in `faults` for a name goes wrong, once per entry."""

    daemon_threads = True

    def __init__(self, contents):
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents = contents
        self.faults, self.requests, self.has_ranges = {}, [], True
        self.released = threading.Event()

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, *_):
        """A client that goes away is part of the play."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = self.path.lstrip("/")
        start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if self.server.has_ranges else 0
        self.server.requests.append((name, start, time.monotonic()))
        faults = self.server.faults.get(name, [])
        fault = faults.pop(0) if faults else None
        if isinstance(fault, int):
            return self.refuse(fault)
        if fault == "hang":
            self.server.released.wait(20)
            return None
        try:
            content = self.server.contents[name]
        except KeyError:
            return self.refuse(404)
        half = len(content) // 2
        content = {"flip": content[:99] + b"?" + content[100:], "short": content[:half]}.get(fault, content)
        if start >= len(content):
            return self.refuse(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if fault == "drop unannounced":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if fault in ("drop", "drop unannounced"):
            self.wfile.write(content[start : start + half // 2])
            self.close_connection = True
        elif fault == "stall":
            self.wfile.write(content[start : start + half])
            self.wfile.flush()
            self.server.released.wait(20)
        else:
            self.wfile.write(content[start:])
        return None

    def refuse(self, status):
        self.send_response(status)
        if status == 503:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Quiet."""


@contextlib.contextmanager
def serving(contents):
    """Run a server of these contents (name -> bytes)."""
    with Server(contents) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.released.set()
        server.shutdown()
