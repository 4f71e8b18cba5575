"""Clips of an archive fetched alone, from a server on this machine."""

import hashlib
import json
import zipfile

import numpy as np
import pytest
from loopback import serving
from made_archives import download_entry, made_clips, write_archive

from rlsp.config.needs import few_of_archive, what_is_fetched
from rlsp.config.specs.downloads import parse_download
from rlsp.config.study import Study
from rlsp.config.study_files import read_config
from rlsp.data import clips, members, packing, sources
from rlsp.errors import DataError, DownloadError
from rlsp.planning import space
from rlsp.planning.estimate import estimate_disk
from rlsp.shipped import ROOT

NAMES = [f"{number:03d}" for number in range(12)]
FOLDERS = ["train/train_sharp/003/", "train/train_sharp/007/"]
PICTURES = [f"{folder}{number:08d}.png" for folder in FOLDERS for number in range(4)]
SPEC = {
    "source": "archive", "download": "made", "folder": "train/train_sharp/{clip}/", "clips": ["003", "007"],
    "frames": 4, "size": [64, 64], "scale": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def made():
    return made_clips(frames=4, size=(64, 64), clips=NAMES)


@pytest.fixture(scope="module")
def zipped(made, tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("archive") / "made.zip", made)


@pytest.fixture
def server(zipped, monkeypatch):
    monkeypatch.delenv("RLSP_MIRROR", raising=False)
    monkeypatch.setattr(members.random, "random", lambda: -0.45)  # short pauses
    with serving({name: zipped.read_bytes() for name in ("first", "second")}) as server:
        yield server


def fetch(tmp_path, zipped, *urls, folders=FOLDERS, **changes):
    spec = parse_download({**download_entry(zipped, *urls), **changes})
    manifest = tmp_path / "made/manifest.json"
    members.fetch_members("made", spec, folders, manifest, timeout=(1, 0.5), retries=2)
    return json.loads(manifest.read_text())


def spoilt(zipped, name):
    """Give an archive with one byte of a member's content changed."""
    content = bytearray(zipped.read_bytes())
    with zipfile.ZipFile(zipped) as archive:
        info = archive.getinfo(name)
    content[info.header_offset + 30 + len(name) + info.compress_size // 2] ^= 1
    return bytes(content)


def asked(server, name):
    return [start for asked_name, start, _ in server.requests if asked_name == name]


def left(tmp_path):
    """Names of what lies in the folder of the download, without the lock."""
    return sorted(path.name for path in (tmp_path / "made").iterdir() if path.name != ".lock")


# ---- what comes


def test_only_the_files_of_these_folders_come_and_are_packed(tmp_path, made, zipped, server):
    manifest = fetch(tmp_path, zipped, server.url("first"))
    path = tmp_path / "made/made.zip"
    with zipfile.ZipFile(path) as got, zipfile.ZipFile(zipped) as whole:
        assert got.namelist() == PICTURES
        assert all(got.read(name) == whole.read(name) for name in PICTURES)
    # the last 64 kB of the archive, where its directory is, and a sixth of its pictures
    assert server.sent < 65536 + zipped.stat().st_size / 5
    assert len(server.requests) == 1 + len(PICTURES)
    assert manifest["folders"] == FOLDERS and manifest["licence"] == "CC BY 4.0"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest["files"] == {"made.zip": {"bytes": path.stat().st_size, "sha256": sha256}}
    assert left(tmp_path) == ["made.zip", "manifest.json"]
    out = tmp_path / "out/manifest.json"
    packing.pack_dataset("set", SPEC, out, source=path, workers=2)
    for name, clip in clips.open_clips(out).items():
        np.testing.assert_array_equal(clip, made[name])


def test_the_same_bytes_each_time(tmp_path, zipped, server):
    first, second = (fetch(tmp_path / name, zipped, server.url("first")) for name in "ab")
    assert first["files"] == second["files"]


def test_a_clip_that_was_not_fetched_is_told(tmp_path, zipped, server):
    fetch(tmp_path, zipped, server.url("first"))
    spec = {**SPEC, "clips": ["003", "004"]}
    with pytest.raises(
        DataError, match=r"made.zip: expected train/train_sharp/004/ in it, but only 2 other clips"
    ):
        packing.pack_dataset(
            "set", spec, tmp_path / "out/manifest.json", source=tmp_path / "made/made.zip", workers=1
        )


# ---- what goes wrong


@pytest.mark.parametrize("fault", ["drop", "stall", 503])
def test_a_connection_that_breaks_is_taken_up_again(tmp_path, zipped, server, fault):
    server.faults["first"] = [fault, None, None, fault]
    fetch(tmp_path, zipped, server.url("first"))
    assert left(tmp_path) == ["made.zip", "manifest.json"]


def test_what_came_before_a_kill_is_not_fetched_again(tmp_path, zipped, server, monkeypatch):
    real = members._Taking._take_one

    def take(self, archive, info, where):
        if info.filename == PICTURES[5]:
            raise KeyboardInterrupt
        real(self, archive, info, where)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(members._Taking, "_take_one", take)
        fetch(tmp_path, zipped, server.url("first"))
    assert left(tmp_path) == ["made.zip.files"]
    damaged = tmp_path / "made/made.zip.files" / PICTURES[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    server.requests.clear()
    fetch(tmp_path, zipped, server.url("first"))
    assert len(server.requests) == 1 + 1 + 3  # the directory, the damaged one, and those that were missing
    with zipfile.ZipFile(tmp_path / "made/made.zip") as archive:
        assert archive.testzip() is None and archive.namelist() == PICTURES


def test_a_member_with_wrong_bytes_is_named_and_nothing_lies_at_its_name(tmp_path, zipped, server):
    server.contents["first"] = spoilt(zipped, PICTURES[5])
    with pytest.raises(
        DownloadError, match=rf"^made.zip: {PICTURES[5]}: expected a sound file, got: "
    ) as caught:
        fetch(tmp_path, zipped, server.url("first"))
    assert server.url("first") in str(caught.value) and "\n" not in str(caught.value)
    assert left(tmp_path) == ["made.zip.files"]
    assert len(list((tmp_path / "made").rglob("*.png"))) == 5
    fetch(tmp_path, zipped, server.url("first"), server.url("second"))  # which has the other three
    assert len(asked(server, "second")) == 1 + 3


def test_an_archive_of_another_size_is_refused(tmp_path, zipped, server):
    server.contents["first"] = zipped.read_bytes() + b"!"
    with pytest.raises(
        DownloadError, match=r"expected bytes \d+-\d+/(\d+), the server sent bytes .*/\d+ \(http"
    ):
        fetch(tmp_path, zipped, server.url("first"))


def test_other_bytes_than_those_asked_for_are_refused(tmp_path, zipped, server):
    server.faults["first"] = [None, "other range"]
    with pytest.raises(DownloadError, match="the server sent bytes"):
        fetch(tmp_path, zipped, server.url("first"))


def test_places_are_tried_in_turn_and_all_are_told(tmp_path, zipped, server):
    with pytest.raises(
        DownloadError, match=r"none of 2 places has it: .*answered 404 .*gone\); .*answered 404"
    ):
        fetch(tmp_path, zipped, server.url("gone"), server.url("lost"))
    fetch(tmp_path, zipped, server.url("gone"), server.url("second"))
    with pytest.raises(
        DownloadError, match=r"made.zip: cannot be fetched: .*refused \(http://127.0.0.1:9/made.zip"
    ):
        fetch(tmp_path, zipped, "http://127.0.0.1:9/made.zip")


def test_a_folder_that_the_archive_lacks(tmp_path, zipped, server):
    with pytest.raises(DownloadError, match="expected files in train/train_sharp/999/, got none"):
        fetch(tmp_path, zipped, server.url("first"), folders=[*FOLDERS, "train/train_sharp/999/"])


def test_names_that_lead_out_of_a_folder_are_refused(tmp_path, made, server):
    path = write_archive(tmp_path / "evil.zip", made)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train/../../evil.png", b"?")
    server.contents["evil"] = path.read_bytes()
    with pytest.raises(DownloadError, match="expected relative names inside the archive"):
        fetch(tmp_path, path, server.url("evil"))
    assert not list(tmp_path.rglob("evil.png"))


def test_something_that_is_no_archive(tmp_path, zipped, server):
    server.contents["first"] = bytes(zipped.stat().st_size)
    with pytest.raises(DownloadError, match="expected a complete zip archive, got: File is not a zip"):
        fetch(tmp_path, zipped, server.url("first"))


# ---- without ranges


def test_without_ranges_the_whole_archive_is_fetched_and_checked(tmp_path, zipped, server, capsys):
    server.has_ranges = False
    manifest = fetch(tmp_path, zipped, server.url("first"))
    said = [line for line in capsys.readouterr().err.splitlines() if "whole" in line]
    assert said == [f"made: {server.url('first')} sends whole files only; the whole archive is fetched"]
    with zipfile.ZipFile(tmp_path / "made/made.zip") as archive:
        assert archive.namelist() == PICTURES and archive.testzip() is None
    assert manifest["folders"] == FOLDERS
    assert [name for name in left(tmp_path) if name[0] != "."] == ["made.zip", "manifest.json"]
    with pytest.raises(DownloadError, match="expected SHA-256 0000"):
        fetch(tmp_path / "other", zipped, server.url("first"), sha256="0" * 64)


def test_of_two_places_the_one_with_ranges_is_taken(tmp_path, zipped, server):
    with serving({"plain": zipped.read_bytes()}) as plain:
        plain.has_ranges = False
        fetch(tmp_path, zipped, plain.url("plain"), server.url("second"))
        assert len(asked(plain, "plain")) == 1 and len(asked(server, "second")) == 1 + len(PICTURES)


# ---- when


def reds_study(tmp_path, **changes):
    """A study that only tests on REDS4."""
    config = read_config(ROOT / "config" / "demo.yaml")
    config["runs"] = [{"interpolation": "bicubic", "degradations": ["bicubic"]}]
    more = {
        "test_sets": ["reds4"],
        "pictures": {},
        "ablation": [],
        "reference_model": None,
        "data_root": str(tmp_path),
        "study": "reds",
    }
    return {**config, **more, **changes}


def test_reds4_is_fetched_alone(tmp_path):
    study = Study(reds_study(tmp_path, compare_lr=["reds4"]))
    clip = 100 * 1280 * 720 * 3
    sharp, bicubic = "train/train_sharp/{}/", "train/train_sharp_bicubic/X4/{}/"
    names = ("000", "011", "015", "020")
    assert few_of_archive(study, "reds-train-sharp") == {sharp.format(name): clip for name in names}
    assert few_of_archive(study, "reds-train-sharp-bicubic") == {
        bicubic.format(name): clip // 16 for name in names
    }
    assert space.space_needed(study)["archives"] == 2 * 4 * (clip + clip // 16)
    disk = estimate_disk(study).set_index("name").loc["reds-train-sharp"]
    assert disk["bytes"] == 4 * clip and "4 clips" in disk["how"]
    fetched = what_is_fetched(study, "reds-train-sharp")
    assert fetched.pop("folders") == [sharp.format(name) for name in names]
    assert fetched == study.download("reds-train-sharp").what_decides_bytes()


def few(tmp_path, **changes):
    return few_of_archive(Study(reds_study(tmp_path, **changes)), "reds-train-sharp")


def test_much_of_an_archive_is_fetched_whole(tmp_path):
    sets = read_config(ROOT / "config" / "demo.yaml")["datasets"]

    def clips_of_reds4(last):
        return {**sets, "reds4": {**sets["reds4"], "clips": [f"000-{last:03d}"]}}

    # 30 clips of 100 frames of 1280x720 hold less than a quarter of 34261573976 bytes, 31 more
    assert len(few(tmp_path, datasets=clips_of_reds4(29))) == 30
    assert few(tmp_path, datasets=clips_of_reds4(30)) == {}
    assert few(tmp_path, test_sets=["reds4", "reds-train"]) == {}
    assert few(tmp_path, keep_archives=True) == {}
    assert few(tmp_path, datasets={**sets, "reds4": {**sets["reds4"], "size": None}}) == {}
    study = Study.from_file(ROOT / "config" / "paper.yaml")
    assert few_of_archive(study, "reds-train-sharp") == few_of_archive(study, "reds-val-sharp") == {}


def test_a_whole_archive_that_is_there_is_used(tmp_path):
    study = Study(reds_study(tmp_path))
    path = study.archive("reds-train-sharp")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"some")
    assert few_of_archive(study, "reds-train-sharp")
    with path.open("wb") as file:
        file.truncate(34261573976)  # takes no room
    assert few_of_archive(study, "reds-train-sharp") == {}
    assert "folders" not in what_is_fetched(study, "reds-train-sharp")


def test_all_of_it_without_folders(tmp_path, zipped, server):
    spec = download_entry(zipped, server.url("first"))
    sources.fetch("made", spec, tmp_path / "made/manifest.json", FOLDERS)
    assert json.loads((tmp_path / "made/manifest.json").read_text())["folders"] == FOLDERS
    sources.fetch("made", spec, tmp_path / "made/manifest.json")  # another study needs all
    assert (tmp_path / "made/made.zip").read_bytes() == zipped.read_bytes()
    assert "folders" not in json.loads((tmp_path / "made/manifest.json").read_text())
