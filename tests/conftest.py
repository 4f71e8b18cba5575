"""Fixtures that several test files use, and what is skipped on machines that lack something."""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # workers share the cores; before torch is imported
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

import pytest

# PyTorch and what uses it are imported below: the process that hands out the tests does without.

# Test files that cannot even be imported without a package, which a bare GPU machine may lack.
NEEDED = {
    "test_clips.py": "av",
    "test_corpus_downloads.py": "requests",
    "test_corpus_environment.py": "av",
    "test_corpus_pictures.py": "av",
    "test_corpus_sound.py": "av",
    "test_corpus_videos.py": "av",
    "test_cuts.py": "scenedetect",
    "test_download.py": "requests",
    "test_members.py": "requests",
    "test_packing.py": "av",
    "test_reasons.py": "snakemake",
    "test_upscaling.py": "av",
}


def pytest_configure(config):
    """Keep compiled code for this run only, in a folder that workers inherit."""
    if "PYTEST_XDIST_WORKER" not in os.environ and "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="compiled-")
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def is_installed(package):
    return importlib.util.find_spec(package) is not None


def pytest_ignore_collect(collection_path):
    """Leave out files that lack a package; the header says so."""
    needed = NEEDED.get(collection_path.name)
    return True if needed and not is_installed(needed) else None


def pytest_collection_modifyitems(items):
    """Begin with what takes long, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: [not item.get_closest_marker(name) for name in ("workflow", "slow")])


def pytest_report_header():
    missing = [f"{name} (no {package})" for name, package in NEEDED.items() if not is_installed(package)]
    return f"not collected: {', '.join(missing)}" if missing else None


def pytest_runtest_setup(item):
    """Skip what this machine cannot do, asking the same function as the product."""
    import torch

    from rlsp.devices import available_precisions

    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if item.get_closest_marker("workflow") and not is_installed("snakemake"):
        pytest.skip("Snakemake is not installed")
    for mark in item.iter_markers("precision"):
        available = available_precisions("cpu")
        if mark.args[0] not in available:
            pytest.skip(f"this processor multiplies in {', '.join(available)} only, not in {mark.args[0]}")


@pytest.fixture(autouse=True)
def threads():
    """Threads as they were: a training sets its recipe's, in this process too."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def quick_ceilings(monkeypatch):
    """Measure what the device can do by few and small products."""
    from rlsp import clock
    from rlsp.timing import hardware

    monkeypatch.setattr(hardware, "MATRIX_SIDES", {"cpu": (32, 64)})
    monkeypatch.setattr(hardware, "CONVOLUTION_CHANNELS", {"cpu": (24,)})
    monkeypatch.setattr(hardware, "CONVOLUTION_SIDE", {"cpu": 16})
    monkeypatch.setattr(hardware, "COPY_BYTES", {"cpu": 2**20})
    monkeypatch.setattr(clock, "WARMUP_SECONDS", 0)
    monkeypatch.setattr(clock, "MEASURED_SECONDS", {"cpu": 0})


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder in which the tiny study has been run, once for all workers; to be read, not to be changed."""
    from filelock import FileLock
    from snakemake_runs import new_folder, planned, snakemake

    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder = root / "finished" / "clone"
    with FileLock(root / "finished.lock"):
        if not folder.exists():
            assert planned(new_folder(folder))["train"] == 3
            snakemake(folder, "--cores", "2")
    assert (folder / "results" / "tiny" / "report.html").exists(), "the tiny study failed in another worker"
    return folder


@pytest.fixture(scope="session")
def mirror():
    """Folder with first frames of the released files, ``<host>/<repository>/<commit>/<path>``; `make test-released`."""
    if "RLSP_TEST_MIRROR" not in os.environ:
        pytest.skip(
            "RLSP_TEST_MIRROR names no folder with the released files: make test-released fetches them"
        )
    return Path(os.environ["RLSP_TEST_MIRROR"]).resolve(strict=True)


@pytest.fixture
def manifests(tmp_path):
    """Manifests of made clips, as `rlsp.training.TrainingJob` takes them."""
    from made_trainings import made_clips, write_clips

    sides = zip(("lr", "hr"), made_clips(), strict=True)
    lr, hr = (write_clips(tmp_path / kind, clips) for kind, clips in sides)
    return {"lr_manifests": [lr], "hr_manifests": [hr]}
