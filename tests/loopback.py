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
        self.faults, self.requests, self.has_ranges, self.sent = {}, [], True, 0
        self.released = threading.Event()

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, *_):
        """A client that goes away is part of the play."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = self.path.lstrip("/")
        wanted = self.headers.get("Range") if self.server.has_ranges else None
        first, _, last = (wanted or "bytes=0-")[6:].partition("-")
        start = int(first)
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
        end = min(int(last) + 1, len(content)) if last else len(content)
        if fault == "other range":
            start, end = start - 1, end - 1
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        if fault == "drop unannounced":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if fault in ("drop", "drop unannounced"):
            self.wfile.write(content[start : start + (end - start if last else half) // 2])
            self.close_connection = True
        elif fault == "stall":
            self.wfile.write(content[start : start + half])
            self.wfile.flush()
            self.server.released.wait(20)
        else:
            self.wfile.write(content[start:end])
            self.server.sent += end - start
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
