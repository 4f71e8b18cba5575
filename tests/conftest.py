import pytest
import torch
from made_trainings import made_clips, write_clips

from rlsp import hardware
from rlsp.devices import available_precisions


def pytest_runtest_setup(item):
    """Skip what this machine cannot do, asking the same function as the product."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for mark in item.iter_markers("precision"):
        available = available_precisions("cpu")
        if mark.args[0] not in available:
            pytest.skip(f"this processor multiplies in {', '.join(available)} only, not in {mark.args[0]}")


@pytest.fixture
def quick_ceilings(monkeypatch):
    """Measure what the device can do by few and small products."""
    monkeypatch.setattr(hardware, "MATRIX_SIDES", {"cpu": (64, 128)})
    monkeypatch.setattr(hardware, "CONVOLUTION_CHANNELS", {"cpu": (32,)})
    monkeypatch.setattr(hardware, "CONVOLUTION_SIDE", {"cpu": 16})
    monkeypatch.setattr(hardware, "COPY_BYTES", {"cpu": 2**20})
    monkeypatch.setattr(hardware, "WARMUP_SECONDS", 0)
    monkeypatch.setattr(hardware, "MEASURED_SECONDS", {"cpu": 0})


@pytest.fixture
def manifests(tmp_path):
    """Manifests of made clips, as `rlsp.training.train` takes them."""
    sides = zip(("lr", "hr"), made_clips(), strict=True)
    lr, hr = (write_clips(tmp_path / kind, clips) for kind, clips in sides)
    return {"lr_manifests": [lr], "hr_manifests": [hr]}
