"""`make gpu` and the folder that is carried to a bare machine, at tiny sizes on a processor."""

import csv
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
import yaml
from tool import load_tool

from rlsp.data.images import read_png, write_png
from rlsp.shipped import ROOT

pytestmark = pytest.mark.slow
STUDY = "tests/studies/tiny.yaml"
RUN = "rlsp-2-8.gaussian.s0"
gpu = load_tool("gpu")


def run(folder, *command, check=True):
    """Run a command as on a bare machine; returns what it printed."""
    bare = os.pathsep.join([str(ROOT / "tests" / "bare"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": bare, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def pack(target, *arguments, check=True):
    command = [sys.executable, str(ROOT / "tools" / "gpu_pack.py"), str(target), "--no-wheels", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done


def summary(folder):
    (path,) = folder.glob("results/gpu/*/summary.csv")
    return {(row["part"], row["what"]): (row["status"], row["result"]) for row in csv.DictReader(path.open())}


@pytest.fixture
def clip(tmp_path):
    """A folder of noise."""
    rng = np.random.default_rng(0)
    for number in range(6):
        write_png(tmp_path / "My_Clip" / f"{number}.png", rng.integers(0, 256, (50, 83, 3)).astype(np.uint8))
    return tmp_path / "My_Clip"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A folder as it is carried to a bare machine."""
    folder = tmp_path_factory.mktemp("bare") / "pack"
    pack(folder)
    return folder


def test_a_pack_holds_sources_and_the_middle_of_clips(clip, tmp_path):
    target = tmp_path / "pack"
    pack(target, "--clips", str(clip), "--frames", "4", "--side", "40")
    pictures = sorted((target / "clips").rglob("*.png"))
    assert [str(path.relative_to(target)) for path in pictures] == [
        f"clips/my-clip/{n:08d}.png" for n in range(4)
    ]
    whole = read_png(clip / "2.png")
    np.testing.assert_array_equal(read_png(pictures[2]), whole[5:45, 21:61])
    study = yaml.safe_load((target / "clips.yaml").read_text())
    assert study["datasets"]["packed-clips"]["path"] == "clips"
    assert (target / "rlsp" / "models" / "rlsp.py").exists() and (target / "tests" / "conftest.py").exists()
    weights = {".safetensors", ".pt", ".pth", ".npy"}
    assert (
        not [path for path in target.rglob("*") if path.suffix in weights]
        and not (target / "results").exists()
    )


def test_a_pack_that_is_too_large_is_refused(clip, tmp_path):
    refused = pack(tmp_path / "pack", "--clips", str(clip), "--limit", "0.1", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {tmp_path}/pack: expected at most 0.1 MB, got ")
    assert not (tmp_path / "pack").exists()
    (tmp_path / "pack").mkdir()
    again = pack(tmp_path / "pack", check=False)
    assert again.stderr == f"error: {tmp_path}/pack: expected a folder that is not there yet\n"


@pytest.fixture(scope="module")
def little(packed):
    """One training of the tiny study, and an endless one."""
    study = yaml.safe_load((ROOT / STUDY).read_text())
    study |= {"ablation": [], "runs": [{**study["runs"][0], "models": ["rlsp-2-8"]}, study["runs"][2]]}
    (packed / "little.yaml").write_text(yaml.safe_dump(study))
    study["recipes"]["tiny"]["steps"] = 1_000_000
    (packed / "endless.yaml").write_text(yaml.safe_dump({**study, "study": "endless"}))
    return packed


def test_every_part_runs_on_a_bare_machine(little):
    printed = run(little, "tools/gpu.py", "--tiny", "--device", "cpu", "--study", "little.yaml")
    rows = summary(little)
    assert {status for status, _ in rows.values()} == {"ok"}
    assert rows["tests", "pytest -m gpu"] == ("ok", "9 skipped")  # without a GPU
    assert rows["times", "rlsp time"][1].endswith(" ok")
    assert re.fullmatch(r"rlsp-2-8 \d+\.\d steps/s", rows["rates", "rlsp rate"][1])
    assert rows["training", RUN][1].startswith("step 40 of 40, ")
    assert f"| training | {RUN} | ok |" in printed and "| times | rlsp time | ok |" in printed
    (folder,) = (little / "results" / "gpu").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "summary.csv", "provenance.json", "runtime.csv", "runtime-cases.csv", "training_rate.csv", "tests.log",
        "times.log", "rates.log", "training",
    }  # fmt: skip
    assert list(pd.read_csv(folder / "training" / f"{RUN}.csv")["step"])[-1] == 40


def test_a_training_is_stopped_at_the_limit_and_goes_on(little, tmp_path):
    command = ["tools/gpu.py", "training", "--device", "cpu", "--study", "endless.yaml"]
    output, steps = tmp_path / "results" / "gpu", []
    for _ in range(6):  # a busy machine may need the whole limit for its imports
        run(little, *command, "--limit", "training=7", "--output", str(output))
        status, result = summary(tmp_path)["training", RUN]
        assert status == "stopped at its limit"
        if found := re.fullmatch(r"step ([\d,]+) of 1,000,000, .* dB in training", result):
            steps.append(int(found[1].replace(",", "")))
        else:
            assert result == "nothing was written"
        if len(steps) == 2:
            break
    assert 0 < steps[0] < steps[1]
    (log,) = output.glob("*/training/*.csv")
    logged = list(pd.read_csv(log)["step"])
    assert logged == sorted(set(logged)) and logged[0] <= steps[0] < logged[-1] <= steps[1]


def test_a_training_that_begins_with_another_comes_after_it(little, tmp_path):
    """Which is written first in the study, and does not begin before that one has come to its end."""
    study = yaml.safe_load((little / "little.yaml").read_text())
    first, second = "rlsp-2-8.gaussian.s0", "rlsp-2-8.second.gaussian.s0"
    trained = study["runs"][0]
    study |= {"study": "chain", "training": {"runs_per_gpu": 2}}
    study["runs"] = [{**trained, "tag": "second", "start_from": first}, trained, *study["runs"][1:]]
    (little / "chain.yaml").write_text(yaml.safe_dump(study))
    command = ["tools/gpu.py", "training", "--device", "cpu", "--study", "chain.yaml"]
    output = ["--output", str(tmp_path / "results" / "gpu")]
    run(little, *command, *output, "--limit", "training=0.01")
    rows = summary(tmp_path)
    assert rows["training", first][0] in ("not started", "stopped at its limit")
    assert rows["training", second] == ("not started", f"begins with {first}")
    run(little, *command, *output)
    rows = summary(tmp_path)
    assert rows["training", first][0] == rows["training", second][0] == "ok"
    assert list(rows).index(("training", first)) < list(rows).index(("training", second))


def test_stopped_itself_it_stops_its_part_which_saves(little, tmp_path):
    """As `timeout` or a scheduler stops it."""
    output = tmp_path / "results" / "gpu"
    command = [sys.executable, "tools/gpu.py", "training", "--device", "cpu", "--study", "endless.yaml"]
    state = little / "results" / "endless" / "training"
    before = {path: path.stat().st_mtime_ns for path in state.glob("*/state.pt")}
    process = subprocess.Popen(
        [*command, "--output", str(output)],
        cwd=little,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log, deadline = output / "log", time.monotonic() + 60
    while not log.exists() or "step/s" not in log.read_text():  # it trains
        assert process.poll() is None and time.monotonic() < deadline
        log = next(output.glob("*/training/*.log"), log)
        time.sleep(0.2)
    process.terminate()
    assert "stopped by SIGTERM" in process.communicate(timeout=60)[1] and process.returncode == 1
    after = {path: path.stat().st_mtime_ns for path in state.glob("*/state.pt")}
    assert after and after != before
    assert "stopped by SIGTERM at step" in log.read_text()


def test_outcomes_are_counted_with_and_without_workers(tmp_path):
    log = tmp_path / "tests.log"
    log.write_text(
        "$ pytest\n[gw0] [ 50%] PASSED tests/a.py::one \n$ pytest\n[gw0] [ 50%] PASSED tests/a.py::one \n"
        "[gw1] [100%] FAILED tests/a.py::two \nSKIPPED [1] tests/a.py:3: no reason\nFAILED tests/a.py::two - x\n"
    )
    assert gpu.count_outcomes(log) == "1 failed, 1 passed"
    log.write_text("$ pytest\ntests/a.py::one PASSED      [  5%]\ntests/a.py::two SKIPPED (no CUDA) [100%]\n")
    assert gpu.count_outcomes(log) == "1 passed, 1 skipped"
    log.write_text("$ pytest\n")
    assert gpu.count_outcomes(log) == "no test"


def test_a_part_at_its_limit_is_named_and_the_others_go_on(little, tmp_path):
    command = ["tools/gpu.py", "times", "rates", "--tiny", "--device", "cpu", "--study", "little.yaml"]
    output = ["--output", str(tmp_path / "results" / "gpu")]
    printed = run(little, *command, "--limit", "times=0.5", *output)
    assert "| times | rlsp time | stopped at its limit |" in printed
    assert "| rates | rlsp rate | ok |" in printed
    (folder,) = (tmp_path / "results" / "gpu").iterdir()
    table = folder / "runtime-cases.csv"
    table.write_text("status\nok\n")
    os.utime(table, (0, 0))  # of an earlier run
    run(little, *[word for word in command if word != "rates"], "--limit", "times=0.5", *output)
    assert summary(tmp_path)["times", "rlsp time"][1] == "nothing was written"


def test_a_part_that_cannot_stop_is_a_failure(little, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "GRACE", 0.5)
    session = gpu.Session([little / "little.yaml"], "cpu", tmp_path, tiny=True)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    status = session.call(tmp_path / "tests.log", [sys.executable, "-c", deaf], 1)
    assert status == "killed at its limit" and status not in gpu.WELL


def write_wheel(path, module, text):
    """Write a wheel of one module."""
    name, version, tags = path.stem.split("-", 2)
    files = {
        f"{module}.py": text,
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n",
        f"{name}-{version}.dist-info/RECORD": "",
    }
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in files.items():
            wheel.writestr(file, content)


def test_carried_wheels_are_installed(packed, tmp_path):
    """Of several versions of Python those of the one that runs; what cannot be installed is one line."""
    bare, here = tmp_path / "pack", f"cp3{sys.version_info.minor}"
    shutil.copytree(packed, bare, ignore=shutil.ignore_patterns("results", "build", "data"))
    for tag in (here, "cp39"):
        write_wheel(bare / "wheels" / f"carried-1.0-{tag}-none-any.whl", "carried", f"FOR = '{tag}'\n")
    find = "import sys; sys.path.insert(0, 'tools'); import gpu; gpu.CARRIED = {'%s': '%s'}; gpu.find_packages()\n"
    for _ in range(2):  # the second time it is there
        assert (
            run(bare, "-c", find % ("carried", "carried") + "import carried; print(carried.FOR)").strip()
            == here
        )
    failed = run(bare, "-c", find % ("forgotten", "forgotten"), check=False)
    assert failed.startswith("error: wheels: forgotten cannot be installed from them: ")
    assert failed.count("\n") == 1


def test_mistakes_are_one_line(little):
    assert "expected parts of tests, times, rates, training, got all" in run(
        little, "tools/gpu.py", "all", check=False
    )
    missing = run(little, "tools/gpu.py", "--device", "cuda", check=False)
    assert missing == "error: device: expected a CUDA GPU, found none; set device: cpu\n"


def test_every_module_but_downloads_is_imported_on_a_bare_machine():
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "rlsp").rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py", "download.py", "members.py")
    ]
    run(ROOT, "-c", f"import importlib\nfor name in {names}: importlib.import_module(name)")


def test_the_tests_are_collected_on_a_bare_machine():
    printed = run(ROOT, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", "gpu")
    assert "error" not in printed.lower()
    assert "test_graph_restores_what_a_cpu_does" in printed and "test_time_on_a_gpu" in printed
