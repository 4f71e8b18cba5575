import functools
import hashlib
import http.server
import json
import stat
import threading
import zipfile

import pytest

from rlsp.config import datasets
from rlsp.config.specs.datasets import parse_dataset
from rlsp.config.specs.downloads import parse_download
from rlsp.data import sources
from rlsp.errors import ConfigError, DownloadError

# ---- overlap of train and test sets


FILM = {
    "kind": "package", "package": "film", "version": "1", "wheel": "film.whl", "sha256": "0" * 64, "member": "film.mpg",
    "shots": [[0, 24], [25, 45], [46, 115], [116, 189]], "licence": "CC0",
}  # fmt: skip


def photographs(*names):
    return {"source": "camera-moves", "photographs": list(names)}


def moves_over(path):
    return {"source": "camera-moves", "path": path}


def shots(*ranges, download="film"):
    return {
        "source": "video",
        "download": download,
        "shots": {f"s{n}": shot for n, shot in enumerate(ranges)},
    }


def listed(prefix, download="vid4"):
    return {"source": "frames", "download": download, "clips": {"c": {"prefix": prefix, "frames": 1}}}


def folder(path):
    return {"source": "folder", "path": path}


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        (photographs("coffee", "brick"), photographs("page", "brick"), "photograph brick"),
        (photographs("motorcycle_left"), photographs("motorcycle_right"), "photograph motorcycle"),
        (photographs("coffee"), photographs("page"), None),
        (shots([0, 115]), shots([116, 189]), None),
        (shots([0, 20], [50, 70]), shots([30, 40], [60, 99]), "film frames 46-115"),
        (shots([0, 20]), shots([20, 21]), "film frames 0-24"),
        (shots([0, 20]), shots([0, 20], download="other"), None),
        (listed("in/walk/"), listed("in/walk/"), "vid4 in/walk/"),
        (listed("in/"), listed("in/walk/"), "vid4 in/walk/"),
        (listed("in/city/"), listed("in/walk/"), None),
        (listed("in/walk/"), listed("in/walk/", download="other"), None),
        (folder("own"), folder("./own/../own/"), "own"),
        (folder("own"), folder("own/walk"), "own/walk"),
        (folder("own"), folder("owner"), None),
        (photographs("coffee"), folder("photograph coffee"), None),
        (moves_over("own"), moves_over("./own"), "own"),
        (moves_over("own"), moves_over("own/walk"), "own/walk"),
        (moves_over("own"), moves_over("owner"), None),
        (moves_over("own"), folder("own/walk"), "own/walk"),
        (moves_over("own"), photographs("coffee"), None),
    ],
)
def test_overlap_of_two_sets(first, second, shared):
    """Frames of one shot are alike, whether both sets have the very frames or not."""
    downloads = {"film": parse_download(FILM), "other": parse_download(FILM)}
    for pair in [(first, second), (second, first)]:
        found = datasets.overlap(downloads, *map(parse_dataset, pair))
        assert (found is None) == (shared is None)
        assert shared is None or shared in found


# ---- downloads


def make_wheel(folder, member="demo/film.mpg", mode=stat.S_IFREG | 0o644, content=b"a film"):
    path = folder / "demo_clip-1.0-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "demo_clip-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: demo-clip\nVersion: 1.0\n",
        "demo_clip-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "demo_clip-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        info = zipfile.ZipInfo(member)
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return {
        "kind": "package", "package": "demo-clip", "version": "1.0", "wheel": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "member": "demo/film.mpg", "licence": "CC0",
    }  # fmt: skip


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder that pip looks into instead of the network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return tmp_path / "wheels"


def test_one_file_is_taken_out_of_a_package(tmp_path, wheels):
    spec = make_wheel(wheels)
    sources.fetch("film", spec, tmp_path / "film/manifest.json")
    manifest = json.loads((tmp_path / "film/manifest.json").read_text())
    sha256 = hashlib.sha256(b"a film").hexdigest()
    assert manifest == {
        "download": "film", "spec": {**spec, "shots": []}, "licence": "CC0",
        "files": {"film.mpg": {"bytes": 6, "sha256": sha256}},
    }  # fmt: skip
    assert sorted(file.name for file in (tmp_path / "film").iterdir()) == ["film.mpg", "manifest.json"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "the real clip cannot be had .*study without it works.*out of the study file"),
        ({"package": "demo-clop"}, "the real clip cannot be had .*No matching distribution"),
    ],
)
def test_package_that_cannot_be_had(tmp_path, wheels, change, message):
    spec = {**make_wheel(wheels), **change}
    with pytest.raises(DownloadError, match=message) as caught:
        sources.fetch("film", spec, tmp_path / "film/manifest.json")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "film").iterdir())


def test_member_of_a_wrong_kind_or_size_is_refused(tmp_path, monkeypatch):
    def extract(member="demo/film.mpg", **settings):
        wheel = tmp_path / make_wheel(tmp_path, **settings)["wheel"]
        sources._extract_member(wheel, member, tmp_path / "out/film.mpg")

    with pytest.raises(DownloadError, match="regular file"):
        extract(mode=stat.S_IFLNK | 0o777, content=b"/etc/passwd")
    with pytest.raises(DownloadError, match="expected it to hold demo/fim.mpg"):
        extract("demo/fim.mpg")
    monkeypatch.setattr(sources, "_MEMBER_LIMIT_BYTES", 5)
    with pytest.raises(DownloadError, match="at most 5 bytes, got 6"):
        extract()
    assert not (tmp_path / "out").exists()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror of a made repository, and the list of its files."""
    paths = [f"in/{clip}/Frame {number}.png" for clip in ("city", "walk") for number in (9, 10, 11)]
    rows = []
    for path in [*paths, "in/checkpoint.data", "in/checkpoint.index"]:
        file = tmp_path / "mirror/host/someone/project/c0ffee" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())
        sha256 = hashlib.sha256(path.encode()).hexdigest()
        rows.append(
            {
                "repository": "someone/project",
                "commit": "c0ffee",
                "path": path,
                "bytes": len(path),
                "sha256": sha256,
            }
        )
    monkeypatch.setattr(sources, "read_shipped_table", {"made": rows}.__getitem__)
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "mirror"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("RLSP_MIRROR", f"http://127.0.0.1:{server.server_port}/host/")
        yield tmp_path / "mirror/host/someone/project/c0ffee"
        server.shutdown()


FILES = {
    "kind": "files", "manifest": "made", "base_url": "http://127.0.0.1:9", "include": ["in/walk/"],
    "first_frames": None, "licence": "none",
}  # fmt: skip


def test_listed_files_come_from_the_mirror(tmp_path, mirror):
    sources.fetch("p", FILES, tmp_path / "p/manifest.json")
    manifest = json.loads((tmp_path / "p/manifest.json").read_text())
    assert list(manifest["files"]) == [f"in/walk/Frame {number}.png" for number in (9, 10, 11)]
    for path in manifest["files"]:
        assert (tmp_path / "p" / path).read_bytes() == path.encode()


def test_first_frames_are_those_of_each_folder_and_nothing_else_is_cut(tmp_path, mirror):
    spec = {**FILES, "include": ["in/"], "first_frames": 2}
    sources.fetch("p", spec, tmp_path / "p/manifest.json")
    assert list(json.loads((tmp_path / "p/manifest.json").read_text())["files"]) == [
        *("in/checkpoint.data", "in/checkpoint.index"),
        *(f"in/{clip}/Frame {number}.png" for clip in ("city", "walk") for number in (9, 10)),
    ]


def test_wrong_bytes_leave_no_manifest(tmp_path, mirror):
    (mirror / "in/walk/Frame 10.png").write_bytes(b"in/walk/Frame 1x.png")
    with pytest.raises(DownloadError, match=r"^in/walk/Frame 10.png: expected SHA-256 .*\(1 of 3 files"):
        sources.fetch("p", FILES, tmp_path / "p/manifest.json")
    assert not (tmp_path / "p/manifest.json").exists()
    assert (tmp_path / "p/in/walk/Frame 11.png").is_file()


def test_list_that_does_not_fit(tmp_path):
    with pytest.raises(ConfigError, match="downloads.p.include: .*vid4_gt.csv, got"):
        sources.fetch("p", {**FILES, "manifest": "vid4_gt", "include": ["x/"]}, tmp_path / "p/manifest.json")
    with pytest.raises(ConfigError, match="manifest vid5: expected a list"):
        sources.fetch("p", {**FILES, "manifest": "vid5"}, tmp_path / "p/manifest.json")


@pytest.mark.parametrize(
    ("manifest", "files"), [("vid4_gt", 171), ("rlsp_released", None), ("duf_released", None)]
)
def test_lists_of_files_ship_with_the_package(manifest, files):
    rows = datasets.read_shipped_table(manifest)
    assert files in (None, len(rows)) and len({row["path"] for row in rows}) == len(rows)
    assert all(len(row["sha256"]) == 64 and len(row["commit"]) == 40 for row in rows)


def test_reason_of_pip_names_a_missing_connection():
    broken = (
        "WARNING: Retrying (Retry(total=4)) after connection broken\nERROR: No matching distribution found"
    )
    assert sources._pip_reason(broken) == "pip cannot reach the package index"
    assert sources._pip_reason("ERROR: THESE PACKAGES\n  DO NOT MATCH\nERROR: a  b") == "a b"
    assert (
        sources._pip_reason("/usr/bin/python: No module named pip\n")
        == "/usr/bin/python: No module named pip"
    )
    assert sources._pip_reason("") == ""
