"""Timers: what is recorded, in which order, and in which unit."""

from types import SimpleNamespace

import pytest
import torch

from rlsp import clock
from rlsp.clock import GpuTimer, sample_seconds


@pytest.fixture
def events(monkeypatch):
    """A GPU that notes what its events do; a millisecond passes with each."""
    done = []

    class Event:
        made = 0

        def __init__(self, enable_timing):
            assert enable_timing
            self.name, Event.made, self.at = "se"[Event.made % 2], Event.made + 1, None

        def record(self, stream):
            done.append((self.name, stream))
            self.at = len(done)

        def synchronize(self):
            done.append(("wait", self.name))

        def elapsed_time(self, end):
            return float(end.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"stream of {device}")
    return done


def test_a_timer_begins_where_it_is_made_and_tells_seconds(events):
    timer = GpuTimer("cuda:1")
    events.append("work")
    assert timer.stop() is timer
    assert timer.seconds() == 0.002
    stream = "stream of cuda:1"
    assert events == [("s", stream), "work", ("e", stream), ("wait", "e")]


def test_a_timer_begins_again(events):
    timer = GpuTimer("cuda:0")
    events.append("a wait")
    timer.start()
    timer.stop()
    assert timer.seconds() == 0.001


def test_a_sample_on_a_gpu_is_the_mean_of_several_calls(events):
    calls = clock.CALLS_OF_A_SAMPLE["cuda"]
    assert sample_seconds(lambda: events.append("work"), "cuda:0") == pytest.approx(
        (calls + 1) / 1000 / calls
    )
    assert [event for event in events if event == "work"] == ["work"] * calls
    assert events[0][0] == "s" and events[-2][0] == "e"


def test_a_sample_on_a_processor_is_the_wall_clock(monkeypatch):
    seconds = iter([10.0, 10.5])
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    assert sample_seconds(lambda: None, "cpu") == 0.5
