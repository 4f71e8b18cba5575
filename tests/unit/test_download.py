import errno
import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from functools import partial

import numpy as np
import pytest
from loopback import serving

from rlsp.data import download
from rlsp.errors import DownloadError

CONTENT = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


@pytest.fixture
def server():
    with serving(defaultdict(lambda: CONTENT)) as server:
        yield server


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(download.random, "random", lambda: -0.45)


def items(server, *names):
    return [download.Item(server.url(name), f"folder/{name}", len(CONTENT), SHA256) for name in names]


def fetch(server, folder, *names, **settings):
    settings = {"timeout": (1, 0.5), "retries": 2, "progress": False, **settings}
    download.fetch_files(items(server, *names), folder, **settings)


def is_whole(folder, name):
    return (folder / "folder" / name).read_bytes() == CONTENT


def left_parts(folder):
    return list(folder.rglob("*.part"))


def test_files_arrive_whole_and_are_not_fetched_twice(server, tmp_path):
    fetch(server, tmp_path, "a", "b", "c")
    assert all(is_whole(tmp_path, name) for name in "abc") and not left_parts(tmp_path)
    fetch(server, tmp_path, "a", "b", "c")
    assert len(server.requests) == 3


def test_second_run_hashes_nothing_unless_a_file_changed(server, tmp_path, monkeypatch):
    fetch(server, tmp_path, "a", "b")
    hashed = []
    real = download.file_sha256
    monkeypatch.setattr(download, "file_sha256", lambda path: hashed.append(path.name) or real(path))
    fetch(server, tmp_path, "a", "b")
    assert hashed == []
    changed = tmp_path / "folder/b"
    changed.write_bytes(CONTENT[:-1] + b"!")
    os.utime(changed, ns=(0, 12345))
    fetch(server, tmp_path, "a", "b")
    assert hashed == ["b"] and is_whole(tmp_path, "b")


def test_memory_of_checked_files_survives_a_line_cut_short(server, tmp_path):
    fetch(server, tmp_path, "a")
    with open(tmp_path / ".verified.jsonl", "a") as file:
        file.write('\n{"path": "fold')
    fetch(server, tmp_path, "a", "b")
    fetch(server, tmp_path, "a", "b")
    assert [name for name, _, _ in server.requests] == ["a", "b"]


@pytest.mark.parametrize("fault", ["drop", "drop unannounced"])
def test_dropped_connection_goes_on_where_it_stopped(server, tmp_path, fault):
    server.faults["a"] = [fault, fault]
    fetch(server, tmp_path, "a")
    assert is_whole(tmp_path, "a")
    starts = [start for _, start, _ in server.requests]
    np.testing.assert_allclose(starts, [0, HALF // 2, 2 * (HALF // 2)], atol=2 * download._CHUNK_BYTES)


def test_without_ranges_it_begins_anew(server, tmp_path):
    server.has_ranges, server.faults["a"] = False, ["drop"]
    fetch(server, tmp_path, "a")
    assert is_whole(tmp_path, "a") and len(server.requests) == 2


def test_part_of_an_earlier_run_is_continued(server, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.part").write_bytes(CONTENT[:1000])
    fetch(server, tmp_path, "a")
    assert is_whole(tmp_path, "a") and server.requests[0][1] == 1000


def test_what_this_program_wrote_is_not_read_again(server, tmp_path, monkeypatch):
    """The digest goes on over dropped connections; reading 34 GB anew after each would take minutes."""
    taken = []
    real = download._Part.update
    monkeypatch.setattr(
        download._Part, "update", lambda part, chunk: (taken.append(len(chunk)), real(part, chunk))
    )
    server.faults["a"] = ["drop", "drop"]
    fetch(server, tmp_path, "a")
    assert is_whole(tmp_path, "a") and sum(taken) == len(CONTENT)


def fetch_from(server, folder, *names, **settings):
    first, *others = (server.url(name) for name in names)
    item = download.Item(first, "folder/a", len(CONTENT), SHA256, mirrors=tuple(others))
    settings = {"timeout": (1, 0.5), "retries": 0, "progress": False, **settings}
    download.fetch_files([item], folder, **settings)


def test_next_mirror_goes_on_where_the_first_stopped(server, tmp_path):
    server.faults["one"], server.faults["two"] = ["drop"], [404]
    server.faults["one"] += ["hang"] * 3
    fetch_from(server, tmp_path, "one", "two", "three")
    assert is_whole(tmp_path, "a") and not left_parts(tmp_path)
    name, start, _ = server.requests[-1]
    assert name == "three" and HALF // 2 - 2**17 <= start <= HALF // 2


def test_mirror_with_other_bytes_is_passed_over(server, tmp_path):
    server.faults["one"] = ["flip"]
    fetch_from(server, tmp_path, "one", "two")
    assert is_whole(tmp_path, "a")
    assert [(name, start) for name, start, _ in server.requests] == [("one", 0), ("two", 0)]


def test_every_mirror_that_failed_says_why(server, tmp_path):
    server.faults["one"], server.faults["two"] = [404], ["short"]
    message = rf"^folder/a: none of 2 places has it: .*404.*/one\); expected {len(CONTENT)} bytes.*/two\)"
    with pytest.raises(DownloadError, match=message) as caught:
        fetch_from(server, tmp_path, "one", "two")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5)])
def test_wrong_part_of_an_earlier_run_is_thrown_away(server, tmp_path, part):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.part").write_bytes(part)
    fetch(server, tmp_path, "a")
    assert is_whole(tmp_path, "a") and not left_parts(tmp_path)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (404, "answered 404"),
        ("flip", f"expected SHA-256 {SHA256}, got "),
        ("short", f"expected {len(CONTENT)} bytes, got {HALF}"),
    ],
)
def test_bad_file_is_named_and_the_others_are_kept(server, tmp_path, fault, message):
    server.faults["b"] = [fault]
    with pytest.raises(DownloadError, match=f"^folder/b: .*{message}.*1 of 3 files failed") as caught:
        fetch(server, tmp_path, "a", "b", "c", workers=1)
    assert "\n" not in str(caught.value)
    assert is_whole(tmp_path, "a") and is_whole(tmp_path, "c")
    assert not (tmp_path / "folder/b").exists() and not left_parts(tmp_path)
    fetch(server, tmp_path, "a", "b", "c")
    assert is_whole(tmp_path, "b") and len(server.requests) == 4


@pytest.mark.slow
def test_busy_server_is_asked_again_when_it_says(server, tmp_path):
    server.faults["a"] = [503]
    fetch(server, tmp_path, "a")
    assert is_whole(tmp_path, "a")
    assert server.requests[1][2] - server.requests[0][2] > 0.95


def test_hanging_server_ends_by_timeout_without_losing_the_others(server, tmp_path):
    server.faults["a"] = ["hang"] * 9
    began = time.monotonic()
    with pytest.raises(DownloadError, match=r"^folder/a: .*timed out.*1 of 2 files failed"):
        fetch(server, tmp_path, "a", "b", workers=2, timeout=(1, 0.3))
    assert time.monotonic() - began < 5
    assert is_whole(tmp_path, "b")


def test_stalled_body_keeps_its_bytes(server, tmp_path):
    server.faults["a"] = ["stall"]
    fetch(server, tmp_path, "a")
    assert is_whole(tmp_path, "a") and HALF - 2**16 <= server.requests[1][1] <= HALF


def test_server_that_is_away_is_not_asked_for_every_file(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    many = [download.Item(f"http://127.0.0.1:{port}/{n}", f"{n}", 5, SHA256) for n in range(50)]
    with pytest.raises(DownloadError, match=r"^0: .*[Rr]efused.*50 of 50 files failed"):
        download.fetch_files(many, tmp_path, workers=2, retries=0, progress=False)


def test_full_disk_stops_with_one_line(server, tmp_path, monkeypatch):
    class FullFile(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def open_on_full_disk(path, mode="r", **settings):
        return FullFile() if str(path).endswith(".part") else open(path, mode, **settings)

    monkeypatch.setattr(download, "open", open_on_full_disk, raising=False)
    with pytest.raises(DownloadError, match="^folder/a: cannot be written: No space left.*3 of 3") as caught:
        fetch(server, tmp_path, "a", "b", "c", workers=1)
    assert "\n" not in str(caught.value) and len(server.requests) == 1


@pytest.mark.parametrize("path", ["../a", "/a", "x/../../a", ""])
def test_path_out_of_the_folder_is_refused(server, tmp_path, path):
    with pytest.raises(DownloadError, match="relative path"):
        download.fetch_files(
            [download.Item(server.url("a"), path, 1, SHA256)], tmp_path / "f", progress=False
        )
    assert server.requests == []


PROGRAM = """
import sys
from pathlib import Path
from rlsp.data import download
url, folder, size, sha256 = sys.argv[1:]
items = [download.Item(url + name, name, int(size), sha256) for name in ("a", "b")]
download.fetch_files(items, Path(folder), timeout=(1, 20), workers=1, progress=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_killed_half_way_and_run_again(server, tmp_path, kind):
    server.faults["b"] = ["stall"]
    arguments = [sys.executable, "-c", PROGRAM, server.url(""), str(tmp_path), str(len(CONTENT)), SHA256]
    # a shell lets what it starts in the background ignore SIGINT
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    child = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, preexec_fn=heed)
    part = tmp_path / "b.part"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (part.exists() and part.stat().st_size):
        time.sleep(0.05)
    child.send_signal(kind)
    assert child.wait(timeout=5) != 0
    size = part.stat().st_size
    assert 0 < size < len(CONTENT) and not (tmp_path / "b").exists()
    subprocess.run(arguments, check=True)
    assert (tmp_path / "b").read_bytes() == CONTENT
    assert [(name, start) for name, start, _ in server.requests] == [("a", 0), ("b", 0), ("b", size)]
