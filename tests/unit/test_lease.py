import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from rlsp.errors import TrainingError
from rlsp.training.lease import hold_lease

QUICK = {"heartbeat": 0.1, "stale": 1.0}


def held_by(folder, **changes):
    """Leave the lease of somebody else, on another machine unless said otherwise."""
    holder = {
        "host": "node7",
        "machine": "other",
        "pid": 1,
        "started": 0.0,
        "job": "12",
        "restarts": 0,
        "token": "x",
    }
    path = folder / "lease-1.json"
    path.write_text(json.dumps({**holder, **changes}))
    return path


def leases(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_lease_says_who_holds_it_and_goes_at_the_end(tmp_path):
    with hold_lease(tmp_path / "new", **QUICK) as lease:
        lease.check()
        holder = json.loads(lease.path.read_text())
        assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
        before = lease.path.stat().st_mtime_ns
        time.sleep(0.3)
        assert lease.path.stat().st_mtime_ns > before
    assert leases(tmp_path / "new") == []


def test_an_error_inside_frees_the_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), hold_lease(tmp_path, **QUICK):
        raise ZeroDivisionError
    assert leases(tmp_path) == []


def test_a_live_holder_on_this_machine_is_refused_at_once(tmp_path):
    with hold_lease(tmp_path) as lease:
        started = time.monotonic()
        with pytest.raises(
            TrainingError, match=rf"found one on host .* \(process {os.getpid()}.* alive \d+ s ago"
        ):
            hold_lease(tmp_path).__enter__()
        assert time.monotonic() - started < 2
        lease.check()


HOLDER = """
import sys, time
from pathlib import Path
from rlsp.training.lease import hold_lease
with hold_lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_killed_holder_on_this_machine_is_replaced_at_once(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(TrainingError, match=f"process {process.pid}"):
        hold_lease(tmp_path).__enter__()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    started = time.monotonic()
    with hold_lease(tmp_path) as lease:
        lease.check()
        assert leases(tmp_path) == ["lease-2.json"]
    assert time.monotonic() - started < 2


def test_a_holder_of_another_machine_whose_heart_beats_is_refused(tmp_path):
    path, ended = held_by(tmp_path), threading.Event()

    def beat():
        while not ended.wait(0.1):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(TrainingError, match=r"found one on host node7 \(process 1, job 12\)"):
            hold_lease(tmp_path, **QUICK).__enter__()
    finally:
        ended.set()
        thread.join()
    assert leases(tmp_path) == ["lease-1.json"]


@pytest.mark.slow
def test_a_dead_holder_of_another_machine_is_waited_for_and_replaced(tmp_path):
    held_by(tmp_path)
    started = time.monotonic()
    with hold_lease(tmp_path, **QUICK):
        assert 0.8 < time.monotonic() - started < 4
        assert leases(tmp_path) == ["lease-2.json"]


@pytest.mark.slow
def test_a_clock_that_is_wrong_makes_nobody_immortal(tmp_path):
    path = held_by(tmp_path)
    os.utime(path, (time.time() + 9999, time.time() + 9999))
    with hold_lease(tmp_path, **QUICK):
        assert leases(tmp_path) == ["lease-2.json"]


def test_an_old_heartbeat_is_not_waited_for(tmp_path):
    os.utime(held_by(tmp_path), (1, 1))
    started = time.monotonic()
    with hold_lease(tmp_path):
        assert time.monotonic() - started < 2


@pytest.mark.slow
@pytest.mark.parametrize(("restarts", "waits"), [("1", False), ("0", True)])
def test_the_same_slurm_job_started_again_need_not_wait(tmp_path, monkeypatch, restarts, waits):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    held_by(tmp_path)
    started = time.monotonic()
    with hold_lease(tmp_path, **QUICK):
        assert (time.monotonic() - started > 0.8) == waits


@pytest.mark.slow
def test_a_damaged_lease_is_waited_for_like_any_other(tmp_path):
    (tmp_path / "lease-1.json").write_text('{"host": "no')
    with hold_lease(tmp_path, **QUICK) as lease:
        lease.check()


def test_a_holder_that_slept_too_long_notices(tmp_path):
    with hold_lease(tmp_path, **QUICK) as lease:
        (tmp_path / "lease-2.json").write_text(json.dumps({"host": "node8", "pid": 3, "token": "y"}))
        with pytest.raises(TrainingError, match="taken over by one on host node8"):
            lease.check()
        lease.path.unlink()
        time.sleep(0.3)
        assert not lease.path.exists()
    assert leases(tmp_path) == ["lease-2.json"]  # and leaves the other's lease alone


def test_the_end_of_the_one_who_took_over_is_noticed_too(tmp_path):
    with hold_lease(tmp_path, **QUICK) as lease:
        lease.path.unlink()
        with pytest.raises(TrainingError, match="taken over; this trainer stops"):
            lease.check()


def contend(folder, barrier, results):
    barrier.wait()
    try:
        with hold_lease(folder, heartbeat=0.1, stale=1) as lease:
            lease.check()
            with (folder / "inside").open("x"):
                time.sleep(0.3)
            (folder / "inside").unlink()
            results.put("held")
    except TrainingError:
        results.put("refused")
    except FileExistsError:
        results.put("two holders")


@pytest.mark.slow
@pytest.mark.parametrize("left", [False, True])
def test_of_many_takers_at_the_same_instant_one_wins(tmp_path, left):
    context = multiprocessing.get_context("fork")
    for turn in range(4):
        folder = tmp_path / str(turn)
        folder.mkdir()
        if left:
            os.utime(held_by(folder), (1, 1))
        barrier, results = context.Barrier(5), context.Queue()
        takers = [context.Process(target=contend, args=(folder, barrier, results)) for _ in range(5)]
        for taker in takers:
            taker.start()
        outcomes = [results.get(timeout=20) for _ in takers]
        for taker in takers:
            taker.join()
        assert "held" in outcomes
        assert "two holders" not in outcomes
        assert leases(folder) == []
