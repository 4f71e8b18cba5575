import json
import os
import socket
import subprocess
import sys

import psutil
import pytest

from rlsp.errors import ConfigError
from rlsp.jobs import HOLDER, LOCKS, record_holder, release_stale_lock, settle_lock


@pytest.fixture
def locked(tmp_path):
    (tmp_path / LOCKS).mkdir(parents=True)
    (tmp_path / LOCKS / "0.input.lock").write_text("file\n")
    return tmp_path


def write_holder(folder, **changes):
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}
    (folder / HOLDER).write_text(json.dumps({**holder, **changes}))


def test_lock_of_a_living_process_stays(locked):
    record_holder(locked)
    assert not release_stale_lock(locked)
    assert any((locked / LOCKS).iterdir())


def test_lock_of_a_dead_process_goes(locked):
    process = subprocess.Popen([sys.executable, "-c", ""])
    write_holder(locked, pid=process.pid)
    process.wait()
    assert release_stale_lock(locked)
    assert not any((locked / LOCKS).iterdir())


def test_a_reused_process_number_is_not_taken_for_the_holder(locked):
    write_holder(locked, started=psutil.Process().create_time() - 1000)
    assert release_stale_lock(locked)


def test_lock_of_another_machine_stays(locked):
    write_holder(locked, host="another-node", pid=2**22)
    assert not release_stale_lock(locked)


def test_nothing_to_do(tmp_path, locked):
    assert not release_stale_lock(tmp_path / "empty")
    assert not release_stale_lock(locked)  # a lock of unknown origin


def test_a_second_run_is_told_who_holds_the_folder(locked):
    record_holder(locked)
    told = f"got process {os.getpid()} on {socket.gethostname()}; wait for it, or if it is gone"
    with pytest.raises(ConfigError, match=told):
        settle_lock(locked)
    write_holder(locked, host="another-node", pid=5)
    with pytest.raises(ConfigError, match="got process 5 on another-node"):
        settle_lock(locked)
    (locked / HOLDER).unlink()
    with pytest.raises(ConfigError, match="got one that was not started through this workflow"):
        settle_lock(locked)


def test_a_killed_run_and_a_free_folder_are_no_mistake(tmp_path, locked):
    settle_lock(tmp_path / "empty")
    write_holder(locked, started=psutil.Process().create_time() - 1000)
    settle_lock(locked)
    assert not any((locked / LOCKS).iterdir())
