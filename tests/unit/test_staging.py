import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from rlsp.data import clips, staging
from rlsp.errors import DataError
from rlsp.files import write_json

STAGE = """
import pathlib, shutil, sys, time
from rlsp.data import staging
manifest, stage_to, seconds = sys.argv[1:]
copy = shutil.copyfile
def slow_copy(source, target):
    copy(source, target)
    time.sleep(float(seconds))
shutil.copyfile = slow_copy
print(staging.stage_clips(pathlib.Path(manifest), stage_to))
"""


@pytest.fixture
def manifest(tmp_path):
    """Manifest of three clips, one of which has optical flow."""
    folder = tmp_path / "shared/clips"
    entries = {
        name: clips.write_clip(folder / f"{name}.npy", np.full((2, 4, 8, 3), level, np.uint8))
        for level, name in enumerate("abc")
    }
    (folder / "a.flow.npz").write_bytes(b"flow")
    entries["a"]["flow"] = "a.flow.npz"
    path = folder / "manifest.json"
    write_json(path, {"dataset": "d", "spec": {}, "licence": "none", "clips": entries})
    return path


def staging_process(manifest, stage_to, seconds):
    command = [sys.executable, "-c", STAGE, str(manifest), str(stage_to), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def assert_staged(staged, manifest, disk):
    assert staged.is_relative_to(disk) and staged != manifest
    copies, originals = clips.open_clips(staged), clips.open_clips(manifest)
    assert list(copies) == list(originals)
    for name, clip in originals.items():
        np.testing.assert_array_equal(copies[name], clip)
    assert sorted(file.name for file in staged.parent.iterdir()) == [
        "a.npy", "b.npy", "c.npy", "manifest.json"
    ]  # fmt: skip


def assert_read_from_where_they_are(staged, manifest, capsys, message):
    assert staged == manifest
    said = capsys.readouterr().err
    assert message in said and said.endswith(f"; clips are read from {manifest.parent}\n")
    assert said.count("\n") == 1


def test_nothing_is_staged_without_being_asked_for(manifest):
    assert staging.stage_clips(manifest, None) == manifest


def test_clips_are_copied_once(manifest, tmp_path, capsys, monkeypatch):
    disk = tmp_path / "disk"
    staged = staging.stage_clips(manifest, disk)
    assert_staged(staged, manifest, disk)
    assert "copied 3 clips" in capsys.readouterr().err
    assert (staged.parents[1].stat().st_mode & 0o777) == 0o700
    monkeypatch.setattr(shutil, "copyfile", None)
    assert staging.stage_clips(manifest, disk) == staged
    assert capsys.readouterr().err == ""
    original, copied = clips.read_manifest(manifest), clips.read_manifest(staged)
    original["clips"]["a"]["flow"] = None
    assert copied == original


def test_changed_clips_are_another_set(manifest, tmp_path):
    first = staging.stage_clips(manifest, tmp_path / "disk")
    contents = clips.read_manifest(manifest)
    contents["clips"]["b"] = clips.write_clip(manifest.parent / "b.npy", np.full((3, 4, 8, 3), 9, np.uint8))
    write_json(manifest, contents)
    second = staging.stage_clips(manifest, tmp_path / "disk")
    assert second.parent != first.parent
    assert_staged(second, manifest, tmp_path / "disk")


def test_variables_are_those_of_the_job(manifest, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RLSP_TEST_DISK", str(tmp_path / "disk"))
    staged = staging.stage_clips(manifest, "$RLSP_TEST_DISK/mine")
    assert_staged(staged, manifest, tmp_path / "disk/mine")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert_staged(staging.stage_clips(manifest, "~/disk"), manifest, tmp_path / "home")
    capsys.readouterr()
    monkeypatch.delenv("RLSP_TEST_DISK")
    staged = staging.stage_clips(manifest, "$RLSP_TEST_DISK/mine")
    assert_read_from_where_they_are(
        staged, manifest, capsys, "variables that are set on this node, got $RLSP"
    )


@pytest.mark.slow
def test_two_jobs_at_once_copy_once(manifest, tmp_path):
    jobs = [staging_process(manifest, tmp_path / "disk", 0.5) for _ in range(2)]
    outputs = [job.communicate(timeout=60) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert outputs[0][0] == outputs[1][0]
    said = outputs[0][1] + outputs[1][1]
    assert said.count("copied 3 clips") == 1 and said.count("waiting") <= 1
    assert_staged(type(manifest)(outputs[0][0].strip()), manifest, tmp_path / "disk")


def test_killed_copy_goes_on(manifest, tmp_path, capsys):
    disk = tmp_path / "disk"
    job = staging_process(manifest, disk, 60)
    deadline = time.monotonic() + 60
    while not list(disk.rglob(".a.npy.*.tmp")) and time.monotonic() < deadline:
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    assert not list(disk.rglob("manifest.json"))
    (folder,) = (entry for entry in next(disk.iterdir()).iterdir() if entry.is_dir())
    shutil.copyfile(manifest.parent / "b.npy", folder / "b.npy")
    (folder / "c.npy").write_bytes(b"half")
    kept = (folder / "b.npy").stat().st_ino
    staged = staging.stage_clips(manifest, disk)
    assert_staged(staged, manifest, disk)
    assert (folder / "b.npy").stat().st_ino == kept
    assert "copied 2 clips" in capsys.readouterr().err


def test_damaged_copy_is_made_again(manifest, tmp_path):
    staged = staging.stage_clips(manifest, tmp_path / "disk")
    os.truncate(staged.with_name("b.npy"), 40)
    assert staging.stage_clips(manifest, tmp_path / "disk") == staged
    assert_staged(staged, manifest, tmp_path / "disk")


def test_disk_without_room(manifest, tmp_path, monkeypatch, capsys):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=900))
    staged = staging.stage_clips(manifest, tmp_path / "disk")
    assert_read_from_where_they_are(staged, manifest, capsys, "GB of free space, got 0.0")


def test_disk_that_fills_up_gets_its_room_back(manifest, tmp_path, monkeypatch, capsys):
    copy = shutil.copyfile

    def fill(source, target):
        if "c.npy" in str(source):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", fill)
    staged = staging.stage_clips(manifest, tmp_path / "disk")
    assert_read_from_where_they_are(staged, manifest, capsys, "No space left on device")
    assert not list((tmp_path / "disk").rglob("*.npy"))


def test_folder_that_cannot_be_made_or_is_not_ours(manifest, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    staged = staging.stage_clips(manifest, tmp_path / "file/disk")
    assert_read_from_where_they_are(staged, manifest, capsys, "Not a directory")
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / f"rlsp-{os.getuid()}").symlink_to(manifest.parent)
    staged = staging.stage_clips(manifest, tmp_path / "trap")
    assert_read_from_where_they_are(staged, manifest, capsys, "expected a folder that belongs to user")


def test_job_that_never_ends_is_not_waited_for_for_ever(manifest, tmp_path, monkeypatch, capsys):
    first = staging.stage_clips(manifest, tmp_path / "disk")
    first.unlink()
    monkeypatch.setattr(staging, "_LONGEST_WAIT", 0.1)
    with staging._locked(first.parent.with_suffix(".lock")):
        capsys.readouterr()
        assert staging.stage_clips(manifest, tmp_path / "disk") == manifest
    assert "another job still copies after 0.1 s" in capsys.readouterr().err


def test_clips_that_are_missing_are_an_error(manifest, tmp_path):
    (manifest.parent / "b.npy").unlink()
    with pytest.raises(DataError, match="b.npy: listed in manifest.json, but missing"):
        staging.stage_clips(manifest, tmp_path / "disk")
    with pytest.raises(DataError, match="there is none"):
        staging.stage_clips(manifest.with_name("gone.json"), tmp_path / "disk")
