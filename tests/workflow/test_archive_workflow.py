"""A study whose clips come from an archive as REDS has them, from fetching to the report."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import snakemake_runs
import yaml
from loopback import serving
from made_archives import download_entry, made_clips, official_lr, write_archive
from snakemake_runs import COMMAND, STUDIES, edit, new_folder, run, snakemake

from rlsp.config.study import Study

pytestmark = pytest.mark.workflow
NOBODY = "http://127.0.0.1:9"  # the port of "discard": refused at once
SHARP, BICUBIC = "made-sharp/sharp.zip", "made-bicubic/bicubic.zip"


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Files of the server by name, and the catalogue entries of the archives."""
    folder, clips = tmp_path_factory.mktemp("archives"), made_clips()
    sharp = write_archive(folder / "sharp.zip", clips)
    bicubic = write_archive(
        folder / "bicubic.zip", official_lr(clips), "train/train_sharp_bicubic/X4/{clip}/"
    )
    contents = {SHARP: sharp.read_bytes(), BICUBIC: bicubic.read_bytes()}
    entries = {
        "made-sharp": download_entry(sharp, NOBODY), "made-bicubic": download_entry(bicubic, NOBODY),
    }  # fmt: skip
    return contents, entries


@pytest.fixture
def server(archives, monkeypatch):
    with serving(archives[0]) as server:
        monkeypatch.setenv("RLSP_MIRROR", server.url(""))
        yield server


def archive_folder(folder, archives, **changes):
    """Lay out a working folder with the study in it."""
    return new_folder(folder, STUDIES / "archive.yaml", downloads=archives[1], **changes)


def planned(folder, *arguments):
    """Names of the rules that would run."""
    return set(snakemake_runs.planned(folder, *arguments)) - {"study"}


def planned_outputs(folder, *rules):
    """Outputs of all jobs of some rules that would run."""
    printed = snakemake(folder, "--dry-run")
    return re.findall(
        rf"^rule (?:{'|'.join(rules)}):\n(?:    input.*\n)?    output: (.*)$", printed, re.MULTILINE
    )


def clips_of(folder, dataset):
    """Target that stands for the packed clips of a data set."""
    return str(Study.from_file(folder / "study.yaml").clips(dataset))


def zips(folder):
    return sorted(path.name for path in (folder / "data/downloads").rglob("*.zip*"))


@pytest.fixture(scope="module")
def finished(archives, tmp_path_factory):
    """A folder in which the study has been run, and what the server was asked for."""
    folder = archive_folder(tmp_path_factory.mktemp("workflow") / "clone", archives)
    with serving(archives[0]) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLSP_MIRROR", server.url(""))
        snakemake(folder, "--cores", "2")
        asked = [name for name, *_ in server.requests]
    return folder, asked


def test_from_archive_to_report(finished):
    folder, asked = finished
    assert sorted(asked) == [BICUBIC, SHARP]
    results = folder / "results" / "archive"
    assert (results / "report.html").stat().st_size > 100_000
    verdict = (results / "official_lr" / "made-test.txt").read_text()
    assert "boundary replicate gives the official LR exactly" in verdict
    assert {path.name for path in (folder / "data" / "clips").rglob("*.npy")} == {
        f"{clip}.npy" for clip in ("000", "001", "002", "003")
    }


def test_archives_are_gone_and_a_second_run_does_nothing(finished, monkeypatch):
    folder, _ = finished
    monkeypatch.setenv("RLSP_MIRROR", NOBODY)
    assert zips(folder) == [] and not list((folder / "data").rglob("*.png"))
    assert "Nothing to be done" in snakemake(folder, "--cores", "2")
    run(folder, "rlsp", "fetch", "--study", "study.yaml")
    assert zips(folder) == []


def test_another_set_from_the_same_archive_leaves_the_first_alone(finished, server, tmp_path):
    """The archive is fetched again, which is no reason to pack or train again."""
    folder = Path(shutil.copytree(finished[0], tmp_path / "copy", symlinks=True))
    study = yaml.safe_load((folder / "study.yaml").read_text())
    more = {**study["datasets"]["made-test"], "clips": ["001"], "official_lr": None}
    study["datasets"]["made-more"] = more
    study["runs"][1]["test_sets"] = ["made-test", "made-more"]
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    first = clips_of(folder, "made-test")
    before = (folder / first).stat().st_mtime_ns
    target = clips_of(folder, "made-more")
    assert planned(folder, target) == {"fetch_archive", "unpack", "pack"}
    assert not {"train", "compare_lr"} & planned(folder)
    outputs = "".join(planned_outputs(folder, "pack", "degrade", "flow"))
    assert "made-more" in outputs and "made-test" not in outputs and "made-train" not in outputs
    snakemake(folder, "--cores", "1", target, first)
    assert (folder / target).exists() and (folder / first).stat().st_mtime_ns == before
    assert zips(folder) == [] and [name for name, *_ in server.requests] == [SHARP]


def test_few_clips_are_fetched_alone_and_another_study_gets_all(tmp_path, monkeypatch):
    """Clips of a first study, fetched and not yet packed, are no obstacle to one that needs the whole archive."""
    path = write_archive(tmp_path / "sharp.zip", made_clips(clips=[f"{number:03d}" for number in range(10)]))
    entries = {"made-sharp": download_entry(path, NOBODY), "made-bicubic": download_entry(path, NOBODY)}
    with serving({SHARP: path.read_bytes()}) as server:
        monkeypatch.setenv("RLSP_MIRROR", server.url(""))
        folder = archive_folder(tmp_path / "clone", [{}, entries])
        edit(folder, lambda study: study.update(runs=study["runs"][1:], compare_lr=[]))
        target = clips_of(folder, "made-test")
        snakemake(folder, "--cores", "1", "data/downloads/made-sharp/sharp.zip")
        assert len(server.requests) == 1 + 2 * 8 and server.sent < path.stat().st_size / 2
        snakemake(folder, "--cores", "1", target)
        assert len(server.requests) == 1 + 2 * 8 and zips(folder) == []
        assert planned(folder, target) == set()
        (folder / target).unlink()
        (folder / target).with_name("unpacked.json").unlink()
        snakemake(folder, "--cores", "1", "data/downloads/made-sharp/sharp.zip")
        edit(folder, lambda study: study["datasets"]["made-test"].update(clips=["000-009"]))
        more = clips_of(folder, "made-test")
        assert planned(folder, more) == {"fetch_archive", "unpack", "pack"}
        snakemake(folder, "--cores", "1", more)
        assert server.requests[-1][:2] == (SHARP, 0) and len(list((folder / more).parent.glob("*.npy"))) == 10


def test_fetched_beforehand_nothing_is_asked_for_again(archives, server, tmp_path, monkeypatch):
    """What `make fetch` brings where there is a network is all that is needed where there is none."""
    folder = archive_folder(tmp_path / "clone", archives, keep_archives=True)
    printed = run(folder, "rlsp", "fetch", "--study", "study.yaml")
    assert re.search(r"disk space: .* needed \(archives .*, clips .*, lr .*\), .* free at data", printed)
    assert len(server.requests) == 2
    monkeypatch.setenv("RLSP_MIRROR", NOBODY)
    target = clips_of(folder, "made-test")
    assert planned(folder, target) == {"unpack", "pack"}
    comparison = "results/archive/official_lr/made-test.csv"
    snakemake(folder, "--cores", "1", target, comparison)
    assert zips(folder) == ["bicubic.zip", "sharp.zip"]
    table = folder / comparison
    rows = table.read_text()
    table.unlink()
    snakemake(folder, "--cores", "1", comparison)
    assert table.with_suffix(".txt").read_text().startswith("made-test: boundary replicate gives")
    assert table.read_text() == rows


def test_no_internet_is_one_line(archives, tmp_path, monkeypatch):
    folder = archive_folder(tmp_path / "clone", archives)
    monkeypatch.setenv("RLSP_MIRROR", NOBODY)
    printed = snakemake(folder, "--cores", "1", clips_of(folder, "made-test"), check=False)
    errors = re.findall(r"^error: .*", printed, re.MULTILINE)
    told = r"error: sharp.zip: cannot be fetched: .*refused \(http://127.0.0.1:9/made-sharp/sharp.zip\)"
    assert errors and re.match(told, errors[0]) and "Traceback" not in printed


def test_killed_download_goes_on_where_it_stopped(archives, server, tmp_path):
    folder = archive_folder(tmp_path / "clone", archives)
    target = clips_of(folder, "made-test")
    server.faults[SHARP] = ["stall"]
    command = [*COMMAND, "--cores", "1", target]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    part = folder / "data/downloads/made-sharp/sharp.zip.part"
    deadline = time.monotonic() + 60
    # the server stops half-way; the last bytes of a chunk wait in the program
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in below:
        child.kill()
    process.wait()
    psutil.wait_procs(below, timeout=10)
    size = part.stat().st_size
    assert 0 < size < len(archives[0][SHARP])
    snakemake(folder, "--cores", "1", target)
    assert [(name, start) for name, start, _ in server.requests] == [(SHARP, 0), (SHARP, size)]
    assert zips(folder) == []


def test_damaged_picture_stops_with_its_name_and_loses_nothing(archives, tmp_path, monkeypatch):
    spoil = {"train/train_sharp/003/00000005.png": b"no picture"}
    path = write_archive(tmp_path / "sharp.zip", made_clips(), spoil=spoil)
    with serving({SHARP: path.read_bytes()}) as server:
        monkeypatch.setenv("RLSP_MIRROR", server.url(""))
        entries = {**archives[1], "made-sharp": download_entry(path, NOBODY)}
        folder = archive_folder(tmp_path / "clone", [archives[0], entries])
        printed = snakemake(folder, "--cores", "1", clips_of(folder, "made-test"), check=False)
    message = (
        r"^error: data/downloads/made-sharp/sharp.zip: train/train_sharp/003/00000005.png: expected a PNG"
    )
    assert re.search(message, printed, re.MULTILINE) and "Traceback" not in printed
    assert zips(folder) == ["sharp.zip"]
    assert [path.name for path in folder.glob("data/clips/*/*.npy")] == ["001.npy"]


def test_too_small_a_disk_stops_before_any_job(archives, tmp_path):
    entries = {**archives[1], "made-sharp": {**archives[1]["made-sharp"], "bytes": 10**18}}
    folder = archive_folder(tmp_path / "clone", [archives[0], entries], keep_archives=True)
    printed = snakemake(folder, "--cores", "2", check=False)
    assert re.search(r"^error: data: expected 1000000000.\d GB of free disk space", printed, re.MULTILINE)
    assert "Traceback" not in printed and not (folder / "data").exists()
    edited = yaml.safe_load((folder / "study.yaml").read_text())
    edited["downloads"] = archives[1]
    (folder / "study.yaml").write_text(yaml.safe_dump(edited))
    assert "fetch_archive" in planned(folder)
