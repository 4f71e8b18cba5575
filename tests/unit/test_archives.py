import errno
import functools
import hashlib
import json
import os
import stat
import struct
import subprocess
import threading
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from loopback import serving
from made_archives import download_entry, made_clips, official_lr, png, write_archive

from rlsp.config import datasets
from rlsp.config.datasets import archive_clips
from rlsp.config.needs import needed_downloads
from rlsp.config.specs.datasets import parse_dataset
from rlsp.config.study import Study
from rlsp.config.study_files import read_config
from rlsp.data import archives, clips, packing, sources
from rlsp.data import official_lr as comparison
from rlsp.errors import ConfigError, DataError, DownloadError
from rlsp.files import write_json
from rlsp.planning import space
from rlsp.shipped import ROOT

FOLDER = "train/train_sharp/{clip}/"
SPEC = {
    "source": "archive", "download": "made", "folder": FOLDER, "clips": ["000-003"], "leave_out": ["001"],
    "frames": 4, "size": None, "first_frames": None, "scale": 4,
}  # fmt: skip
FIRST = "train/train_sharp/000/00000000.png"


@pytest.fixture(scope="module")
def made():
    return made_clips(frames=4, size=(18, 24))


@pytest.fixture
def archive(tmp_path, made):
    """A fetched archive."""
    path = write_archive(tmp_path / "made/made.zip", made)
    note(path)
    return path


def note(path):
    """Write the manifest that says the archive was checked."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": ""}}
    write_json(path.with_name("manifest.json"), {"licence": "CC BY 4.0", "files": files})


def pack(folder, spec=SPEC, workers=2):
    manifest, source = folder / "out/manifest.json", folder / "made/made.zip"
    packing.pack_dataset("set", spec, manifest, source=source, workers=workers)
    return clips.read_manifest(manifest), clips.open_clips(manifest)


# ---- packing


def test_clips_come_out_as_they_went_in(tmp_path, archive, made):
    manifest, opened = pack(tmp_path)
    assert list(opened) == ["000", "002", "003"] and manifest["licence"] == "CC BY 4.0"
    for name, clip in opened.items():
        np.testing.assert_array_equal(clip, made[name][:, :16])
        assert manifest["clips"][name]["dropped_rows"] == 2
    assert not list(tmp_path.rglob("*.png"))


def test_first_frames_only(tmp_path, archive, made):
    _, opened = pack(tmp_path, {**SPEC, "first_frames": 2})
    np.testing.assert_array_equal(opened["003"], made["003"][:2, :16])


def test_every_thread_reads_with_a_handle_of_its_own(tmp_path, archive, monkeypatch):
    opened = []

    class Recording(zipfile.ZipFile):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.owner = threading.get_ident()
            opened.append(self)

        def open(self, *arguments, **settings):
            assert threading.get_ident() == self.owner
            return super().open(*arguments, **settings)

    monkeypatch.setattr(archives.zipfile, "ZipFile", Recording)
    pack(tmp_path, workers=3)
    owners = [handle.owner for handle in opened]
    assert 2 <= len(owners) == len(set(owners)) <= 4


def test_killed_packing_goes_on_with_the_clips_that_are_missing(tmp_path, archive, monkeypatch):
    decoded = []
    real = archives.Archive._read_picture

    def read(self, name, size):
        if name.endswith("003/00000002.png") and len(decoded) < 11:
            raise KeyboardInterrupt
        decoded.append(name.split("/")[2])
        return real(self, name, size)

    monkeypatch.setattr(archives.Archive, "_read_picture", read)
    with pytest.raises(KeyboardInterrupt):
        pack(tmp_path, workers=1)
    assert decoded == ["000"] * 4 + ["002"] * 4 + ["003"] * 2
    assert not (tmp_path / "out/manifest.json").exists() and not (tmp_path / "out/003.npy").exists()
    decoded += ["counted"]
    manifest, _ = pack(tmp_path, workers=1)
    assert decoded[11:] == ["003"] * 4
    for entry in manifest["clips"].values():
        assert entry["sha256"] == hashlib.sha256((tmp_path / "out" / entry["file"]).read_bytes()).hexdigest()


def test_archive_may_be_gone_when_every_clip_is_there(tmp_path, archive):
    first, _ = pack(tmp_path)
    archive.unlink()
    again, _ = pack(tmp_path)
    assert again == first
    (tmp_path / "out/002.npy").unlink()
    with pytest.raises(DataError, match="made.zip: expected the archive that manifest.json lists"):
        pack(tmp_path)


def test_clips_that_were_touched_or_made_from_something_else_are_packed_again(tmp_path, archive, made):
    pack(tmp_path)
    path = tmp_path / "out/000.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    os.utime(path, ns=(0, 12345))
    before = (tmp_path / "out/manifest.json").read_bytes()
    (tmp_path / "out/.002.npy.json").write_text('{"made_')
    _, opened = pack(tmp_path)
    np.testing.assert_array_equal(opened["000"], made["000"][:, :16])
    assert (tmp_path / "out/manifest.json").read_bytes() == before
    _, opened = pack(tmp_path, {**SPEC, "first_frames": 1})
    assert {len(clip) for clip in opened.values()} == {1}


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 128 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_keeps_finished_clips(tmp_path, small_disk):
    write_archive(tmp_path / "made/made.zip", made_clips(frames=4, size=(64, 64)))
    note(tmp_path / "made/made.zip")
    manifest, source = small_disk / "out/manifest.json", tmp_path / "made/made.zip"
    pack_again = functools.partial(packing.pack_dataset, "set", SPEC, manifest, source=source, workers=1)
    with pytest.raises(DataError, match=r"003.npy: cannot be written: No space left.*next run goes on"):
        pack_again()
    first = (small_disk / "out/000.npy").stat().st_ino
    assert not manifest.exists() and not list((small_disk / "out").glob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    pack_again()
    assert len(clips.open_clips(manifest)) == 3 and (small_disk / "out/000.npy").stat().st_ino == first


# ---- archives that are wrong


def rewritten(path, change):
    """Write an archive again; `change` gets the list of (ZipInfo, content)."""
    with zipfile.ZipFile(path) as old:
        members = [(info, old.read(info)) for info in old.infolist()]
    members = change(members)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        warnings.simplefilter("ignore")  # names that are there twice
        for info, content in members:
            new.writestr(info, content)
    note(path)


def entry(name, mode=stat.S_IFREG | 0o644):
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
    return info


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (entry("../evil.png"), r"relative names inside the archive, got '../evil.png'"),
        (entry("train/../../evil.png"), "relative names"),
        (entry("/etc/evil.png"), "relative names"),
        (entry("train\\..\\evil.png"), "relative names"),
        (entry("C:/evil.png"), "relative names"),
        (entry("train/link.png", stat.S_IFLNK | 0o777), "train/link.png: expected a file or folder, got a link"),
        (entry(FIRST), f"{FIRST}: expected every name once"),
    ],
)  # fmt: skip
def test_names_that_no_honest_archive_has(tmp_path, archive, added, message):
    rewritten(archive, lambda members: [*members, (added, b"/etc/passwd")])
    with pytest.raises(DataError, match=message) as caught:
        pack(tmp_path)
    assert "made.zip" in str(caught.value) and "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"made", "out"}


def spoilt(tmp_path, made, content, name=FIRST):
    """Pack an archive in which one picture has other bytes."""
    note(write_archive(tmp_path / "made/made.zip", made, spoil={name: content}))
    pack(tmp_path)


def giant_png(width, height):
    """A header that promises so many pixels, with a right checksum, and no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GIF89a" * 9, "expected a PNG file, got something else"),
        (b"", "expected a PNG file, got something else"),
        (giant_png(60000, 60000), "expected at most .* pixels, got 60000x60000"),
        (bytes(3 << 20), r"expected at most 100 times its \d+ compressed bytes, got 3145728"),
    ],
)
def test_picture_that_is_none_is_named_with_its_archive(tmp_path, made, content, message):
    with pytest.raises(DataError, match=rf"made/made.zip: {FIRST}: {message}") as caught:
        spoilt(tmp_path, made, content)
    assert "\n" not in str(caught.value) and not (tmp_path / "out/manifest.json").exists()


def test_picture_that_does_not_decode(tmp_path, made):
    name = FIRST.replace("000/", "002/").replace("0.png", "3.png")
    with pytest.raises(DataError, match=f"made.zip: {name}: expected a readable PNG"):
        spoilt(tmp_path, made, png(made["002"][3])[:500], name)


def test_picture_of_another_size(tmp_path, archive, made):
    with pytest.raises(DataError, match=f"{FIRST}: expected 32x18, got 24x18"):
        pack(tmp_path, {**SPEC, "size": [18, 32]})
    name = FIRST.replace("0.png", "1.png")
    with pytest.raises(DataError, match=f"{name}: expected 24x18 like the other frames, got 24x16"):
        spoilt(tmp_path, made, png(made["000"][1][:16]), name)


def test_flipped_bit_is_found_by_the_checksum_of_its_member(tmp_path, archive):
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        info = opened.getinfo(FIRST)
    content[info.header_offset + 30 + len(FIRST) + info.compress_size // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=f"made.zip: {FIRST}: expected a sound file, got: "):
        pack(tmp_path)
    assert not (tmp_path / "out/000.npy").exists()


def test_member_that_lies_about_its_size_fills_no_memory(tmp_path, made):
    """64 MB of zeros that announce one kilobyte."""
    path = tmp_path / "made/made.zip"
    note(write_archive(path, made, spoil={FIRST: bytes(64 << 20)}))
    content = bytearray(path.read_bytes())
    record = content.rindex(b"PK\x01\x02", 0, content.rindex(FIRST.encode()))
    content[record + 24 : record + 28] = struct.pack("<I", 1000)
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=f"{FIRST}: expected a sound file, got: Bad CRC-32"):
            pack(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_overlapping_members_are_refused(tmp_path, archive):
    """Members that claim more bytes than the file has share some, as in a bomb that nests nothing."""
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        infos = [info for info in opened.infolist() if not info.is_dir()]
    size = len(content) - sum(info.compress_size for info in infos)
    for info in infos:
        record = content.rindex(b"PK\x01\x02", 0, content.rindex(info.filename.encode()))
        content[record + 20 : record + 24] = struct.pack("<I", info.compress_size + size // len(infos) + 1)
    archive.write_bytes(content)
    with pytest.raises(DataError, match="expected members that lie one after the other"):
        pack(tmp_path)


def test_password_or_unusual_compression(tmp_path, archive):
    def lzma(members):
        members[1][0].compress_type = zipfile.ZIP_LZMA
        return members

    rewritten(archive, lzma)
    with pytest.raises(DataError, match=f"{FIRST}: expected a stored or deflated file without password"):
        pack(tmp_path)


@pytest.mark.parametrize(
    ("missing", "frames", "message"),
    [
        ("2.png", 4, r"made.zip: expected 4 PNG files in train/train_sharp/000/, got 3"),
        ("1.png", 3, r"made.zip: .*00000002.png: expected the frame numbered 1 after 00000000.png, got 2"),
    ],
)
def test_missing_frames(tmp_path, archive, missing, frames, message):
    rewritten(archive, lambda m: [(i, c) for i, c in m if not i.filename.endswith(f"000/0000000{missing}")])
    with pytest.raises(DataError, match=message):
        pack(tmp_path, {**SPEC, "clips": ["000"], "leave_out": [], "frames": frames})


def test_files_that_are_no_archives(tmp_path, archive):
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"made.zip: expected {len(whole)} bytes, got {len(whole) // 2}"):
        pack(tmp_path)
    note(archive)
    with pytest.raises(DataError, match="made.zip: expected a complete zip archive, got: File is not a zip"):
        pack(tmp_path)
    archive.unlink()
    with pytest.raises(DataError, match="made.zip: expected the archive that manifest.json lists"):
        pack(tmp_path)
    (tmp_path / "made/manifest.json").unlink()
    with pytest.raises(DataError, match="expected an archive that was checked; say: rlsp fetch .* made"):
        pack(tmp_path)


# ---- lists of clips


@pytest.mark.parametrize(
    ("clip_list", "leave_out", "message"),
    [
        (["010-003"], [], "clips: expected a range from low to high .*got 010-003"),
        (["9-10"], [], "clips: expected a range .*got 9-10"),
        (["000-003", "002"], [], "clips: expected every clip once"),
        (["000-003"], ["004"], "leave_out: expected one of the clips .*got '004'"),
        (["000"], ["000"], "leave_out: expected to leave some clips"),
    ],
)
def test_lists_of_clips_that_are_wrong(clip_list, leave_out, message):
    with pytest.raises(ConfigError, match=message):
        archive_clips(parse_dataset({**SPEC, "clips": clip_list, "leave_out": leave_out}))


def shared(*specs):
    return datasets.overlap({}, *map(parse_dataset, specs))


def test_a_clip_may_not_be_trained_and_tested_on():
    test = {**SPEC, "clips": ["001", "003"], "leave_out": []}
    assert shared(SPEC, test) == "made train/train_sharp/003/"
    assert shared({**SPEC, "leave_out": ["001", "003"]}, test) is None
    assert shared(SPEC, {**test, "download": "other"}) is None


# ---- REDS in the catalogue

# https://github.com/tensorflow/datasets, tensorflow_datasets/url_checksums/reds.txt
PUBLISHED = {
    "train_sharp.zip": (34261573976, "620294c1c3f23ed26c5ea228633770469c0b28e57d31eb41dc77deb401c6681b"),
    "val_sharp.zip": (4273865704, "53f6ce4791ed3cfca747ff8982ba29b6e8b7cc1927eed742458f45ed93a1a279"),
    "train_sharp_bicubic.zip": (
        2652551733, "ff20eac3c20cd401d1380f9c36830f726d9fba6e926f247c99895eb82c7bebfe"),
    "val_sharp_bicubic.zip": (330490885, "f8d89c1f3b5f15d972352b2243f5860c3ec7ca7a1222cf5026ac9f4a50442ada"),
}  # fmt: skip


@pytest.fixture(scope="module")
def catalogue():
    return Study.from_file(ROOT / "config" / "demo.yaml").spec


def test_archives_of_reds_are_the_published_ones(catalogue):
    found = {spec.file: spec for spec in catalogue.downloads.values() if spec.kind == "archive"}
    assert {file: (spec.bytes, spec.sha256) for file, spec in found.items()} == PUBLISHED
    for file, spec in found.items():
        assert all(url.startswith("https://") and url.endswith(f"/REDS/{file}") or f"/{file}" in url
                   for url in spec.urls)  # fmt: skip
        assert "62dc25d16e6f43d2214f1b365023abda86f7a0ae" in spec.urls[0]
        assert spec.licence == "CC BY 4.0"


def test_a_mirror_of_hugging_face_is_honoured(catalogue, monkeypatch):
    spec = catalogue.downloads["reds-val-sharp"]
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert list(archives.archive_urls("reds-val-sharp", spec)) == list(spec.urls)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/")
    hub, other = archives.archive_urls("reds-val-sharp", spec)
    assert hub.startswith("https://hub.example/datasets/snah/REDS/resolve/") and other == spec.urls[1]


def test_split_of_reds(catalogue):
    sets = {name: archive_clips(catalogue.datasets[name]) for name in ("reds-train", "reds4", "reds-val")}
    assert sets["reds4"] == ["000", "011", "015", "020"]
    assert len(sets["reds-train"]) == 236 and len(sets["reds-val"]) == 30
    assert sorted(sets["reds-train"] + sets["reds4"]) == [f"{number:03d}" for number in range(240)]
    pairs = [("reds-train", "reds4"), ("reds-train", "reds-val"), ("reds4", "reds-val")]
    for pair in pairs:
        assert datasets.overlap({}, *(catalogue.datasets[name] for name in pair)) is None


def reds_study(tmp_path, **changes):
    config = read_config(ROOT / "config" / "demo.yaml")
    config["runs"] = [
        {**config["runs"][0], "train_set": "reds-train", "degradations": ["bicubic", "gaussian"]},
        {"interpolation": "bicubic", "degradations": ["bicubic"]},
    ]
    more = {"test_sets": ["reds4"], "pictures": {}, "data_root": str(tmp_path), "study": "reds"}
    return {**config, **more, **changes}


def test_training_on_reds4_is_refused(tmp_path):
    config = reds_study(tmp_path)
    config["datasets"]["reds-train"]["leave_out"] = ["000", "011", "015"]
    with pytest.raises(ConfigError, match="share reds-train-sharp train/train_sharp/020/"):
        Study(config)


@pytest.mark.parametrize(
    ("dataset", "change", "message"),
    [
        ("reds4", {"clips": [11]}, r'datasets.reds4.clips.0: expected string, got 11 .*write "011"'),
        ("reds4", {"clips": ["9-1"]}, "datasets.reds4.clips: expected a range"),
        ("reds4", {"download": "vid4"}, "datasets.reds4.download: expected an archive .*got vid4 of kind files"),
        ("reds4", {"download": "reds"}, "datasets.reds4.download: unknown name 'reds'"),
        ("reds4", {"folder": "train/"}, "datasets.reds4.folder: text 'train/' does not fit"),
        ("reds4", {"official_lr": {"download": "city", "folder": "{clip}/"}}, "official_lr.download: .*got city"),
        ("vid4", {"download": "reds-val-sharp"}, "datasets.vid4.download: expected no archive"),
    ],
)  # fmt: skip
def test_mistakes_in_an_archive_entry(tmp_path, dataset, change, message):
    config = reds_study(tmp_path)
    config["datasets"][dataset] = {**config["datasets"][dataset], **change}
    with pytest.raises(ConfigError, match=message):
        Study(config)


def test_other_mirrors_and_the_official_lr_do_not_change_what_is_packed(tmp_path):
    config = reds_study(tmp_path)
    before = Study(config).clips("reds4")
    config["downloads"]["reds-train-sharp"]["urls"] = ["http://elsewhere/train_sharp.zip"]
    config["datasets"]["reds4"]["official_lr"] = None
    assert Study(config).clips("reds4") == before
    config["downloads"]["reds-train-sharp"]["sha256"] = "0" * 64
    assert Study(config).clips("reds4") != before


# ---- disk space


def test_space_that_reds_needs(tmp_path):
    """REDS is 240 clips of 100 frames of 1280x720; LR frames are a sixteenth."""
    frame = 1280 * 720 * 3
    study = Study(reds_study(tmp_path))
    assert space.space_needed(study) == {
        "archives": 34261573976, "clips": 240 * 100 * frame,
        "lr": (2 * 236 + 2 * 4) * 100 * frame // 16,
    }  # fmt: skip
    few = Study(reds_study(tmp_path, first_frames=10, compare_lr=["reds-val"]))
    assert space.space_needed(few)["clips"] == 270 * 10 * frame
    assert space.space_needed(few)["archives"] == 34261573976 + 4273865704 + 330490885
    assert space.space_needed(few, ["reds-val-sharp-bicubic"]) == {"archives": 330490885, "clips": 0, "lr": 0}


def test_what_is_there_is_not_needed_again(tmp_path):
    study = Study(reds_study(tmp_path))
    part = tmp_path / "downloads/reds-train-sharp/train_sharp.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(976))
    assert space.space_needed(study)["archives"] == 34261573000
    for dataset in ("reds-train", "reds4"):
        for manifest in (study.unpacked(dataset), study.clips(dataset)):
            manifest.parent.mkdir(parents=True, exist_ok=True)
            manifest.write_text("{}")
    assert needed_downloads(study, missing=True) == [] and needed_downloads(study) == ["reds-train-sharp"]
    assert space.space_needed(study)["archives"] == space.space_needed(study)["clips"] == 0


def test_too_small_a_disk_is_told_before_anything_starts(tmp_path, monkeypatch, capsys):
    usage = type("Usage", (), {"free": 77 * 10**9})
    monkeypatch.setattr(space.shutil, "disk_usage", lambda path: usage)
    space.check_space({"archives": 34261573976, "clips": 0, "lr": 999}, tmp_path / "not/there")
    assert "34.3 GB needed (archives 34.3 GB, lr 999 bytes), 77.0 GB free" in capsys.readouterr().err
    with pytest.raises(
        DataError, match=r"expected 100.6 GB .*\(archives 34.3 GB, clips 66.4 GB\), got 77.0 GB"
    ):
        space.check_space({"archives": 34261573976, "clips": 66355200000, "lr": 0}, tmp_path)


# ---- fetching


@pytest.fixture
def zipped(tmp_path, made):
    return write_archive(tmp_path / "made.zip", made)


@pytest.fixture
def server(zipped, monkeypatch):
    monkeypatch.delenv("RLSP_MIRROR", raising=False)
    with serving({name: zipped.read_bytes() for name in ("made.zip", "made/made.zip", "second")}) as server:
        yield server


def fetch(tmp_path, spec):
    sources.fetch("made", spec, tmp_path / "made/manifest.json")
    return json.loads((tmp_path / "made/manifest.json").read_text())


def test_archive_comes_from_its_urls_in_turn_or_from_the_mirror(tmp_path, zipped, server, monkeypatch):
    spec = download_entry(zipped, server.url("gone"), server.url("second"))
    manifest = fetch(tmp_path, spec)
    assert manifest["files"] == {"made.zip": {"bytes": spec["bytes"], "sha256": spec["sha256"]}}
    assert manifest["licence"] == "CC BY 4.0" and manifest["spec"] == spec
    assert (tmp_path / "made/made.zip").read_bytes() == zipped.read_bytes()
    assert [name for name, *_ in server.requests] == ["gone", "second"]
    (tmp_path / "made/made.zip").unlink()
    monkeypatch.setenv("RLSP_MIRROR", server.url(""))
    fetch(tmp_path, spec)
    assert [name for name, *_ in server.requests] == ["gone", "second", "made/made.zip"]


def test_file_put_in_its_place_by_hand_is_checked_and_taken(tmp_path, zipped, server):
    spec = download_entry(zipped, server.url("made.zip"))
    (tmp_path / "made").mkdir()
    (tmp_path / "made/made.zip").write_bytes(zipped.read_bytes())
    fetch(tmp_path, spec)
    assert server.requests == []
    (tmp_path / "made/made.zip").write_bytes(zipped.read_bytes()[:-1] + b"!")
    fetch(tmp_path, spec)
    assert len(server.requests) == 1 and (tmp_path / "made/made.zip").read_bytes() == zipped.read_bytes()


def test_full_disk_keeps_the_part_and_goes_on(tmp_path, small_disk):
    path = write_archive(tmp_path / "big.zip", made_clips(frames=8, size=(64, 64)))
    assert path.stat().st_size > 300_000
    with serving({"big.zip": path.read_bytes()}) as server:
        spec = download_entry(path, server.url("big.zip"))
        with pytest.raises(DownloadError, match="^big.zip: cannot be written: No space left") as caught:
            sources.fetch("big", spec, small_disk / "big/manifest.json")
        assert "\n" not in str(caught.value)
        kept = (small_disk / "big/big.zip.part").stat().st_size
        assert kept > 50_000
        subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
        sources.fetch("big", spec, small_disk / "big/manifest.json")
        assert (small_disk / "big/big.zip").read_bytes() == path.read_bytes()
        assert [start for _, start, _ in server.requests] == [0, kept]


def test_failure_after_the_last_byte_costs_no_bytes(tmp_path, zipped, server, monkeypatch):
    """Snakemake deletes the output of a failed job, but knows nothing of the part."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spec = download_entry(zipped, server.url("made.zip"))
    with monkeypatch.context() as patch:
        patch.setattr(archives, "write_json", full)
        with pytest.raises(OSError, match="No space left"):
            fetch(tmp_path, spec)
    assert not (tmp_path / "made/made.zip").exists()
    fetch(tmp_path, spec)
    assert (tmp_path / "made/made.zip").read_bytes() == zipped.read_bytes() and len(server.requests) == 1


# ---- the official LR


def compare(tmp_path, hr, lr, frames=3):
    """Compare clips as packed with an archive of LR clips; rows and verdict."""
    folder = "train/train_sharp_bicubic/X4/{clip}/"
    note(write_archive(tmp_path / "lr/lr.zip", lr, folder))
    entries = {name: clips.write_clip(tmp_path / "hr" / f"{name}.npy", clip) for name, clip in hr.items()}
    write_json(tmp_path / "hr/manifest.json", {"clips": entries})
    spec, table = {"folder": folder, "frames": frames, "scale": 4}, tmp_path / "table.csv"
    paths = (tmp_path / "hr/manifest.json", tmp_path / "lr/manifest.json", table)
    text = comparison.compare_lr("made", spec, *paths, workers=2)
    assert (tmp_path / "table.txt").read_text() == text + "\n"
    lines = table.read_text().splitlines()
    return [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]], text


def test_differences_are_counted_per_clip_and_boundary(tmp_path):
    """A flat picture stays flat; one LR pixel of it is 7 levels off in green, another 2 in red and blue."""
    hr = {"000": np.full((3, 32, 48, 3), 100, np.uint8), "001": np.full((2, 32, 48, 3), 9, np.uint8)}
    lr = {name: np.full((3, 8, 12, 3), clip[0, 0, 0, 0], np.uint8) for name, clip in hr.items()}
    lr["000"][1, 2, 3, 1] -= 7
    lr["000"][2, 0, 0] += np.array([2, 0, 2], np.uint8)
    lr["001"][2] = 255  # beyond the frames that were packed
    rows, text = compare(tmp_path, hr, lr)
    expected = {
        "000": {"frames": "3", "max_difference": "7", "differing_pixels": "2", "pixels": "288"},
        "001": {"frames": "2", "max_difference": "0", "differing_pixels": "0", "pixels": "192"},
    }
    assert [(row["clip"], row["boundary"]) for row in rows] == [
        (clip, boundary) for clip in hr for boundary in ("symmetric", "replicate")
    ]
    for row in rows:
        assert {key: row[key] for key in expected["000"]} == expected[row["clip"]]
    assert rows[0]["differing_share"] == "0.00694"
    assert text.startswith("made: neither boundary gives the official LR") and "\n" not in text


@pytest.mark.parametrize("boundary", comparison.BOUNDARIES)
def test_official_lr_tells_the_boundary(tmp_path, boundary):
    hr = made_clips(frames=3, size=(32, 32), clips=["000"])
    rows, text = compare(tmp_path, hr, official_lr(hr, boundary))
    assert f"boundary {boundary} gives the official LR exactly" in text
    differing = {row["boundary"]: int(row["differing_pixels"]) for row in rows}
    assert differing.pop(boundary) == 0
    # only pixels at the border can differ: 4 sides of 8, twice deep
    assert 0 < next(iter(differing.values())) <= 3 * (64 - 16)


def test_official_lr_that_does_not_fit(tmp_path):
    hr = made_clips(frames=3, size=(32, 32), clips=["000"])
    with pytest.raises(DataError, match="lr.zip: .*00000000.png: expected 8x8, got 16x8"):
        compare(tmp_path, hr, {"000": np.zeros((3, 8, 16, 3), np.uint8)})
    with pytest.raises(DataError, match="expected 3 PNG files in train/train_sharp_bicubic/X4/000/, got 0"):
        compare(tmp_path, hr, {"001": np.zeros((3, 8, 8, 3), np.uint8)})
