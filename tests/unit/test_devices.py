import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import torch

from rlsp import devices
from rlsp.devices import claim_device, gpu_errors
from rlsp.errors import ConfigError, DeviceError


class GaveUp(Exception):
    pass


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    """Pretend that there are two GPUs; a job that would wait for one gives up."""

    def give_up(_seconds):
        raise GaveUp

    monkeypatch.setattr(devices.time, "sleep", give_up)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "lock_folder", lambda: tmp_path / "locks")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"uuid-{index}")
    )
    monkeypatch.setattr(torch.cuda, "device", lambda index: torch.cuda._DeviceGuard(-1))
    return tmp_path / "locks"


def test_two_jobs_take_two_gpus_and_a_free_one_is_taken_again(two_gpus):
    with claim_device("cuda") as first, claim_device("auto") as second:
        assert (first, second) == ("cuda:0", "cuda:1")
    with claim_device("cuda") as third:
        assert third == "cuda:0"


def test_a_gpu_keeps_its_lock_when_a_scheduler_counts_from_0(two_gpus, monkeypatch):
    """Two jobs that see one GPU each, both under the number 0, do not wait for each other."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with claim_device("cuda"):
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="another")
        )
        with claim_device("cuda") as second:
            assert second == "cuda:0"
            assert {path.name for path in two_gpus.iterdir()} == {"uuid-0", "another"}


def test_parts_of_one_gpu_have_locks_of_their_own(two_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1a,MIG-2b")
    with claim_device("cuda"), claim_device("cuda"):
        assert {path.name for path in two_gpus.iterdir()} == {"MIG-1a", "MIG-2b"}


def test_jobs_share_a_gpu_in_places(two_gpus):
    """The emptiest GPU first; one that is shared is not to be had alone, one that is held alone not to be shared."""
    with claim_device("cuda") as alone, claim_device("cuda", places=2) as first:
        assert (alone, first) == ("cuda:0", "cuda:1")
        with claim_device("cuda", places=2) as second:
            assert second == "cuda:1"
    with ExitStack() as held:
        taken = [held.enter_context(claim_device("cuda", places=2)) for _ in range(4)]
        assert taken == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
        for places in (1, 2):
            with pytest.raises(GaveUp):
                held.enter_context(claim_device("cuda", places=places))
    with claim_device("cuda") as alone:
        assert alone == "cuda:0"


HOLDER = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_the_gpu_of_a_killed_job_is_free(two_gpus):
    two_gpus.mkdir()
    command = [sys.executable, "-c", HOLDER, str(two_gpus / "uuid-0")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with claim_device("cuda") as device:
            assert device == "cuda:1"
        process.send_signal(signal.SIGKILL)
        process.wait()
    with claim_device("cuda") as device:
        assert device == "cuda:0"


def test_waiting_for_a_gpu_is_said(two_gpus, capfd):
    with claim_device("cuda"), claim_device("cuda"), pytest.raises(GaveUp):
        claim_device("cuda").__enter__()
    assert "all 2 GPUs are taken" in capfd.readouterr().err


def test_locks_do_not_follow_tmpdir(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    if os.access("/dev/shm", os.W_OK):
        assert str(devices.lock_folder()).startswith("/dev/shm/")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("CUDA error: launch failure\nmore"), r"failed or was lost \(CUDA error: launch.*\); go on"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "failed or was lost .*CUDA_VISIBLE_DEVICES"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "out of memory .*; less"),
        (RuntimeError("GET was unable to find an engine to execute this computation"), "out of memory .*; less"),
    ],
)  # fmt: skip
def test_a_lost_gpu_is_one_line(error, message):
    with pytest.raises(DeviceError, match=message) as raised, gpu_errors("cuda:0", "go on", when_full="less"):
        raise error
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_other_errors_stay_what_they_are(device):
    with pytest.raises(RuntimeError, match="shape"), gpu_errors(device, "go on", when_full="less"):
        raise RuntimeError("shape '[2]' is invalid")


def test_more_processes_than_gpus_are_refused_before_they_wait_for_each_other(two_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")  # as torchrun sets it
    with pytest.raises(ConfigError, match="processes: expected at most 2, one for each GPU, got 3"):
        claim_device("cuda").__enter__()


def test_compiled_code_of_each_vector_length_has_its_own_folder(monkeypatch, tmp_path):
    """Code of another length would write past its buffers, and Inductor does not look."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    for _ in range(2):  # the second time nothing is added
        devices.keep_compiled_code_apart()
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "avx2")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "NO AVX")
    devices.keep_compiled_code_apart()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"].endswith(f"/torchinductor-{os.getuid()}/no-avx")
