"""Servers as they are: slow, broken, busy, lying, away."""

import gzip
import hashlib
import http.server
import os
import socket
import threading
import time

import pytest
from cases import Case, names, run

from rlsp.data import download
from rlsp.data.download import Item, fetch_files
from rlsp.data.sources import fetch

CONTENT = bytes(range(256)) * 800  # 204,800 bytes
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the name that is asked for; `count` tells how often it was."""

    protocol_version = "HTTP/1.1"
    count: dict[str, int] = {}

    def do_GET(self):
        name = self.path.lstrip("/").partition("?")[0]
        number = self.count[name] = self.count.get(name, -1) + 1
        first = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
        ANSWERS[name.partition(".")[0]](self, number, first)

    def answer(self, status, content=b"", **headers):
        self.send_response(status)
        for key, value in {"Content_Length": len(content), **headers}.items():
            if value is not None:
                self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(content)

    def part(self, first, end=None, **headers):
        end = len(CONTENT) if end is None else end
        place = {"Content_Range": f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"} if first else {}
        self.answer(
            206 if first else 200,
            CONTENT[first:end],
            **{"Content_Length": len(CONTENT) - first},
            **place,
            **headers,
        )

    def hang_up(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_):
        pass


def broken_every(count):
    def answer(handler, _, first):
        handler.part(first, first + count)
        handler.wfile.flush()
        handler.hang_up()

    return answer


def busy(status, times, **headers):
    def answer(handler, number, first):
        if number < times:
            handler.answer(status, **headers)
        else:
            handler.part(first)

    return answer


def trickle(handler, _, first):
    handler.part(first, first)
    for place in range(first, len(CONTENT)):
        handler.wfile.write(CONTENT[place : place + 1])
        handler.wfile.flush()
        time.sleep(0.01)


def chunked(handler, _, first):
    handler.answer(200, Content_Length=None, Transfer_Encoding="chunked")
    for start in range(0, len(CONTENT), 50_000):
        chunk = CONTENT[start : start + 50_000]
        handler.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
    handler.wfile.write(b"0\r\n\r\n")


def half_chunked(handler, number, first):
    if number:
        return chunked(handler, number, first)
    handler.answer(200, Content_Length=None, Transfer_Encoding="chunked")
    handler.wfile.write(b"c350\r\n" + CONTENT[:50_000] + b"\r\n")
    handler.wfile.flush()
    return handler.hang_up()


ANSWERS = {
    "whole": lambda h, n, first: h.part(first),
    "breaks60k": broken_every(60_000), "breaks1k": broken_every(11_000), "breaks65537": broken_every(65_537),
    "noranges": lambda h, n, first: h.answer(200, CONTENT),
    "later": busy(503, 1, Retry_After=100_000), "date": busy(503, 1, Retry_After="Fri, 01 Jan 2100 00:00:00 GMT"),
    "negative": busy(503, 1, Retry_After=-5), "nonsense": busy(503, 1, Retry_After="soon"), "float": busy(429, 1, Retry_After="0.2"),
    "past": busy(429, 1, Retry_After="Fri, 01 Jan 1990 00:00:00 GMT"), "huge": busy(503, 1, Retry_After="9" * 50),
    "empty": busy(503, 1, Retry_After=""), "once500": busy(500, 1), "once502": busy(502, 1), "always503": busy(503, 99), "always500": busy(500, 99),
    **{str(status): busy(status, 99) for status in (400, 401, 403, 404, 410, 418, 451)},
    "trickle": trickle, "chunked": chunked, "halfchunked": half_chunked,
    "gzip": lambda h, n, first: h.answer(200, gzip.compress(CONTENT), Content_Encoding="gzip"),
    "page": lambda h, n, first: h.answer(200, b"<html>please log in</html>"),
    "nothing": lambda h, n, first: h.answer(200),
    "more": lambda h, n, first: h.answer(200, CONTENT + b"more"),
    "less": lambda h, n, first: h.answer(200, CONTENT[:-5]),
    "other": lambda h, n, first: h.answer(200, bytes(len(CONTENT))),
    "wrongrange": lambda h, n, first: h.answer(206, CONTENT[5:], Content_Range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"),
    "rangealways": lambda h, n, first: h.answer(206, CONTENT[first:], Content_Range="bytes */*"),
    "notsatisfiable": lambda h, n, first: h.answer(416),
    "circle": lambda h, n, first: h.answer(302, Location="/circle"),
    "redirect": lambda h, n, first: h.answer(302, Location="/whole"),
    "tonowhere": lambda h, n, first: h.answer(302, Location="/404"),
    "nolocation": lambda h, n, first: h.answer(302),
    "hangsup": lambda h, n, first: h.hang_up(),
    "once": lambda h, n, first: h.part(first) if n else h.hang_up(),
    "notmodified": lambda h, n, first: h.answer(304),
    "nocontent": lambda h, n, first: h.answer(204, Content_Length=None),
    "garbage": lambda h, n, first: (h.wfile.write(b"\x00\x01 not HTTP at all\r\n\r\n"), h.hang_up()),
    "badlength": lambda h, n, first: h.answer(200, CONTENT, Content_Length="many"),
    "negativelength": lambda h, n, first: h.answer(200, CONTENT, Content_Length="-1"),
}  # fmt: skip


@pytest.fixture(scope="module")
def server():
    """Serve the answers on this machine."""
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.daemon_threads = True
    found.handle_error = lambda *_: None
    threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()


@pytest.fixture(autouse=True)
def no_waiting(server, monkeypatch):
    """Pauses of no length, and a server that a case can name."""
    monkeypatch.setenv("SERVER", server)
    monkeypatch.setattr(download, "_LONGEST_WAIT", 0.05)
    monkeypatch.setattr(download._Patience, "get_backoff_time", lambda _: 0)
    monkeypatch.setattr(
        threading.Event,
        "wait",
        lambda event, timeout=None, wait=threading.Event.wait: wait(event, min(timeout or 0.001, 0.001)),
    )
    Handler.count.clear()


def get(folder, name, *, url=None, path="a.bin", size=SIZE, sha256=SHA256, mirrors=()):
    server = os.environ["SERVER"]
    item = Item(
        url or f"{server}/{name}", path, size, sha256, tuple(f"{server}/{mirror}" for mirror in mirrors)
    )
    fetch_files([item], folder, workers=1, timeout=(2, 2), retries=2, progress=False)
    return folder / "a.bin"


def is_whole(folder, path):
    return path.read_bytes() == CONTENT and not list(folder.rglob("*.part"))


def is_not_there(folder, _):
    return not (folder / "a.bin").exists()


def asked(name, most):
    """The file came in so many requests: what broken connections had brought was kept."""

    def check(folder, path):
        return is_whole(folder, path) and Handler.count[name] < most

    return check


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


RIGHT = ("whole", "noranges", "once500", "once502", "negative", "nonsense", "float", "past", "empty", "chunked", "halfchunked", "gzip", "redirect", "once", "date")  # fmt: skip
WRONG = {
    **{str(status): f"a.bin: expected the file, the server answered {status}" for status in (400, 401, 403, 404, 410, 418, 451)},
    "always503": "a.bin: cannot be fetched: too many 503 error responses", "always500": "too many 500 error responses",
    "page": "expected 204800 bytes, got 26", "nothing": "expected 204800 bytes, got 0", "more": "expected 204800 bytes, got more",
    "less": "expected 204800 bytes, got 204795", "other": f"expected SHA-256 {SHA256}, got", "notsatisfiable": "answered 416",
    "wrongrange": "answered 206", "rangealways": "answered 206", "circle": "cannot be fetched: .*redirects", "tonowhere": "answered 404",
    "nolocation": "answered 302", "hangsup": "cannot be fetched|broke off", "notmodified": "answered 304", "nocontent": "answered 204|got 0",
    "garbage": "cannot be fetched", "trickle": "came too slowly: .* bytes a second",
}  # fmt: skip
URLS = {
    "no server": lambda: f"http://127.0.0.1:{free_port()}/a", "no name": lambda: "http://nowhere.invalid/a", "no scheme": lambda: "nowhere/a",
    "an unknown scheme": lambda: "gopher://nowhere/a", "a file": lambda: "file:///etc/hostname", "no host": lambda: "http:///a",
    "a port of letters": lambda: "http://localhost:many/a", "nothing": lambda: "",
    "TLS of a server without": lambda: os.environ["SERVER"].replace("http:", "https:") + "/whole",
}  # fmt: skip
PATHS = ("../a.bin", "/etc/a.bin", "b/../../a.bin", "", "a\\b.bin")


def unfinished(folder, name, part):
    (folder / "a.bin.part").write_bytes(part)
    return get(folder, name)


CASES = [
    *(Case(f"server {name}", lambda d, name=name: get(d, name), is_refused=False, check=is_whole) for name in RIGHT),
    Case("breaks every 60 kB", lambda d: get(d, "breaks60k"), is_refused=False, check=asked("breaks60k", 5)),
    Case("breaks every 11 kB", lambda d: get(d, "breaks1k"), is_refused=False, check=asked("breaks1k", 20)),
    Case("breaks one byte after 64 KiB", lambda d: get(d, "breaks65537"), is_refused=False, check=asked("breaks65537", 5)),
    Case("Retry-After of a day", lambda d: get(d, "later"), r"asks to come again in \d+ s: it is asked again in", is_refused=False, check=is_whole),
    Case("Retry-After of 50 digits", lambda d: get(d, "huge"), is_refused=False, check=is_whole),
    *(Case(f"server {name}", lambda d, name=name: get(d, name), line, check=is_not_there) for name, line in WRONG.items()),
    *(Case(f"URL of {name}", lambda d, url=url: get(d, "", url=url()), "a.bin: ", check=is_not_there) for name, url in URLS.items()),
    *(Case(f"path {path!r}", lambda d, path=path: get(d, "whole", path=path), "expected a relative path inside the folder") for path in PATHS),
    *(
        Case(f"part of {label}", lambda d, part=part: unfinished(d, "whole", part), is_refused=False, check=is_whole)
        for label, part in (("half", CONTENT[:1000]), ("other bytes", b"x" * 1000), ("more bytes", CONTENT * 2), ("nothing", b""), ("all", CONTENT))
    ),
    Case("second place has it", lambda d: get(d, "404", mirrors=("whole",)), is_refused=False, check=is_whole),
    Case("third place has it", lambda d: get(d, "page", mirrors=("always500", "breaks60k")), is_refused=False, check=is_whole),
    Case("no place has it", lambda d: get(d, "404", mirrors=("403", "page")), "none of 3 places has it: .*404.*403.*got 26"),
    Case("size 0", lambda d: get(d, "nothing", size=0, sha256=hashlib.sha256(b"").hexdigest()), is_refused=False, check=lambda d, p: p.read_bytes() == b""),
    Case("a folder of the file's name", lambda d: [(d / "a.bin").mkdir(), get(d, "whole")], "a.bin: "),
    Case("a folder of the part's name", lambda d: [(d / "a.bin.part").mkdir(), get(d, "whole")], "a.bin: "),
    Case("a file of the folder's name", lambda d: [(d / "x").write_text(""), get(d / "x", "whole")], "x: File exists"),
    Case("an unknown download", lambda d: fetch("mine", {"kind": "tape"}, d / "m.json"), "downloads.mine"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_download(case, tmp_path, capfd):
    run(case, tmp_path, capfd)


def test_the_progress_bar_says_that_no_bytes_come(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(download, "_IDLE", 0)
    bar = download.tqdm(total=10)
    fetcher = download._Fetcher(tmp_path, None, (1, 1), 0, bar)
    fetcher.show_waiting()
    assert "waiting for 0 s" in str(bar)
    fetcher._show(Item("", "a", 10, ""), 5)
    assert "waiting" not in str(bar)
    bar.close()
