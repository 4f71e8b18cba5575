import os
import signal

import pytest
import torch

from rlsp.timing.memory import MemoryProbe


def hold(megabytes):
    """Work for a probe: some memory, or an accident."""
    if megabytes < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if megabytes == 0:
        raise ValueError("nothing to hold\nmore lines")
    torch.ones(int(megabytes * 1e6), dtype=torch.uint8)


@pytest.mark.slow
def test_growth_is_that_of_each_process_alone(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    with MemoryProbe("test_memory:hold") as probe:
        large, small = probe.measure(megabytes=300), probe.measure(megabytes=50)
        with pytest.raises(RuntimeError, match="ValueError: nothing to hold$"):
            probe.measure(megabytes=0)
        with pytest.raises(MemoryError, match="killed"):
            probe.measure(megabytes=-1)
        with pytest.raises(MemoryError, match="allocate"):
            probe.measure(megabytes=10**9)
        again = probe.measure(megabytes=50)
    assert 300 <= large < 340
    assert 50 <= small < 90
    assert abs(again - small) < 10


@pytest.mark.slow
def test_what_a_rehearsal_keeps_is_not_counted(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    with MemoryProbe("test_memory:keep") as probe:
        alone = probe.measure(megabytes=120)
        rehearsed = probe.measure(rehearsal={"megabytes": 120}, megabytes=60)
        failing = probe.measure(rehearsal={"megabytes": 0}, megabytes=120)
    assert 120 <= alone < 160 and 120 <= failing < 160
    assert rehearsed < 10  # it is there already


KEPT = {}


def keep(megabytes):
    """Work that keeps its memory for the next call, as a library does."""
    if megabytes == 0:
        raise ValueError("too small")
    if not KEPT:
        KEPT["all"] = torch.ones(int(megabytes * 1e6), dtype=torch.uint8)


def test_a_server_that_is_gone_is_said(monkeypatch):
    with MemoryProbe("no_such_module:nothing") as probe, pytest.raises(RuntimeError, match="has ended"):
        probe.measure(megabytes=1)
