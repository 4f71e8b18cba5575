"""Signals, pipes, locales, variables of the environment: one line or none, and nothing left behind."""

import os
import signal
import subprocess
import sys

import pytest
from cases import Case, names, run
from made_videos import make_film
from test_corpus_videos import upscale, weights  # noqa: F401

from rlsp.data.images import write_png
from rlsp.data.sources import fetch
from rlsp.devices import claim_device, whole_of_environment
from rlsp.files import remove_leftovers, replace_when_complete, temporary_path
from rlsp.inference.restorer import Restorer
from rlsp.shipped import ROOT
from rlsp.training.lease import hold_lease

DEMO = ["where", "rlsp-3-32.gaussian.s0", "--study", str(ROOT / "config/demo.yaml")]


@pytest.fixture(autouse=True)
def place(weights, monkeypatch):  # noqa: F811
    monkeypatch.setenv("WEIGHTS", str(weights))
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield  # a training that ran in this process has left its own
    for number, handler in before.items():
        signal.signal(number, handler)


# ---- signals while a video is upscaled -----------------------------------------------------------


def interrupted(folder, target, number):
    """Upscale, and send a signal to this process when two frames are done."""
    original = Restorer.pictures

    def pictures(restorer, clip, phase, **named):
        for count, pair in enumerate(original(restorer, clip, phase, **named)):
            if count == 2:
                os.kill(os.getpid(), number)
            yield pair

    Restorer.pictures = pictures
    try:
        from rlsp.cli import main

        source = make_film(folder / "in.mkv", 6)
        main(upscale(source, folder / target))
    finally:
        Restorer.pictures = original


def signal_case(number, target, is_older):
    def act(folder):
        if is_older:
            (folder / target).write_bytes(b"older")
        try:
            interrupted(folder, target, number)
        except SystemExit as end:
            raise SystemExit(f"error: {end.code}") from None  # as cases expect of errors

    def check(folder, _):
        assert sorted(path.name for path in folder.iterdir()) == sorted(["in.mkv", *[target] * is_older])
        assert not is_older or (folder / target).read_bytes() == b"older"
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    said = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
    return Case(
        f"{number.name} while writing {target}{', an older one there' * is_older}", act, said, check=check
    )


# ---- leftovers -----------------------------------------------------------------------------------


def dead_pid():
    """Number of a process that has ended."""
    done = subprocess.Popen(["true"])
    done.wait()
    return done.pid


def leftover(folder, name, pid, is_folder=False):
    ours = temporary_path(folder / name)
    left = ours.with_name(ours.name.replace(f".{os.getpid()}-", f".{pid}-"))
    if is_folder:
        write_png(left / "0.png", __import__("numpy").zeros((4, 4, 3), "uint8"))
    else:
        left.write_bytes(b"half a film")
    return left


def left_case(name, pid, is_kept, **options):
    def act(folder):
        source = make_film(folder / "in.mkv", 2)
        return upscale(source, folder / name) if leftover(folder, name, pid(), **options) else None

    def check(folder, _):
        assert len([path for path in folder.iterdir() if path.name[0] == "."]) == is_kept

    kind = "living" if is_kept else "dead"
    return Case(f"leftover of a {kind} process beside {name}", act, is_refused=False, check=check)


def others(folder):
    """What is not certainly ours stays: of another machine, another target, another tool."""
    names = (
        ".out.mp4.0000abcd.1-1.tmp",
        ".other.mp4.1-1.tmp",
        ".out.mp4.swp",
        "out.mp4.1-1.tmp",
        ".out.mp4.123.tmp",
    )
    for name in names:
        (folder / name).write_bytes(b"")
    remove_leftovers(folder / "out.mp4")
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def long_name(folder):
    target = folder / ("x" * 255)
    with replace_when_complete(target) as temporary:
        temporary.write_text("whole")
    return target.read_text() == "whole" and len(os.listdir(folder)) == 1


# ---- variables -----------------------------------------------------------------------------------


def with_variable(name, value, use):
    def act(folder):
        before = os.environ.get(name)
        os.environ[name] = value.replace("FOLDER", str(folder))
        try:
            return use(folder)
        finally:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before

    return act


def held(folder):
    with hold_lease(folder, heartbeat=0.01, stale=0.05) as lease:
        return lease.path.name


def claimed(folder):
    with claim_device("cpu") as where:
        return where


def fetched(folder):
    files = {
        "kind": "files",
        "base_url": "http://nowhere.invalid",
        "manifest": "rlsp-checkpoints",
        "licence": "none",
    }
    fetch("rlsp-checkpoints", files, folder / "manifest.json")


def planned(folder):
    from rlsp.cli import main

    main(DEMO)


VARIABLES = [
    *((name, value, held, "") for name in ("SLURM_RESTART_COUNT",) for value in ("abc", "", "-1", "1e3", "9" * 99, "²")),
    *((name, value, held, "") for name in ("SLURM_JOB_ID", "PBS_JOBID", "JOB_ID") for value in ("", "abc", "é\n")),
    *((name, value, claimed, "") for name in ("CUDA_VISIBLE_DEVICES",) for value in ("", "abc", "-1", "99", "0,0,0", "GPU-none")),
    *((name, value, claimed, "") for name in ("OMP_NUM_THREADS", "ONEDNN_MAX_CPU_ISA") for value in ("abc", "-1", "")),
    *((name, value, planned, "") for name in ("COLUMNS", "HOME", "TMPDIR", "XDG_CACHE_HOME", "USER", "TERM", "MPLBACKEND") for value in ("", "abc", "FOLDER/gone")),
    *(("RLSP_MIRROR", value, fetched, "rlsp-checkpoints|cannot be fetched|:") for value in ("nowhere", "gopher://x", "http://nowhere.invalid", "/gone", "http://")),
]  # fmt: skip

CASES = [
    *(
        signal_case(number, target, is_older)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for target, is_older in (("out.mp4", False), ("out.mp4", True), ("out", False))
    ),
    left_case("out.mp4", dead_pid, 0),
    left_case("out", dead_pid, 0, is_folder=True),
    left_case("x" * 250 + ".mp4", dead_pid, 0),
    left_case("out.mp4", os.getppid, 1),
    Case("leftovers of others", others, is_refused=False, check=lambda _, found: found),
    Case("a name of 255 bytes", long_name, is_refused=False, check=lambda _, found: found),
    *(
        Case(f"{name}={value!r:.20}", with_variable(name, value, use), line, is_refused=use is fetched)
        for name, value, use, line in VARIABLES
    ),
    *(
        Case(f"{name}={value!r:.20} of a launcher", with_variable(name, value, lambda _, name=name: whole_of_environment(name, 1)), f"{name}: expected a whole number in this environment variable, got")
        for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")
        for value in ("abc", "-1", "1.5", "9" * 99, " ")
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_environment(case, tmp_path, capfd):
    run(case, tmp_path, capfd)


# ---- the command itself --------------------------------------------------------------------------

COMMANDS = {
    "broken pipe": ("{} keys | head -1", {}, ""),
    "broken pipe of a plan": ("{} where rlsp-3-32.gaussian.s0 --study {demo} | true", {}, ""),
    "closed output": ("{} keys >&-", {}, ""),
    "closed input": ("{} keys <&- | tail -1", {}, ""),
    "ASCII": ("{} keys | tail -1", {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}, ""),
    "LANG=C": ("{} keys | tail -1", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, ""),
    "a name that ASCII lacks": ("{} upscale ünï.mp4 out.mp4 --weights x", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}, "error: "),
    "a folder that is gone": ("mkdir gone; cd gone; rmdir ../gone; {} where rlsp-3-32.gaussian.s0 --study {demo} >/dev/null", {}, "error: |"),
    "Ctrl-C while modules are read": ("timeout -s INT 0.6 {} upscale a.mp4 b.mp4 --weights x", {}, "interrupted|error: "),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_command(name, tmp_path):
    command, changes, line = COMMANDS[name]
    words = command.replace("{}", f"{sys.executable} -m rlsp").replace("{demo}", DEMO[-1])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **changes}
    done = subprocess.run(
        ["bash", "-c", words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) <= 1, done.stderr
    assert any(done.stderr.startswith(part) for part in line.split("|")), done.stderr
