"""docs/metrics-and-degradations.md: what it shows is run, from the function to the tables."""

import re
import sys

import numpy as np
import pytest
import yaml

from rlsp.color import rgb_to_y
from rlsp.config.study import Study
from rlsp.config.study_files import read_config
from rlsp.data.clips import write_clip
from rlsp.data.degradation import degrade
from rlsp.data.images import write_png
from rlsp.evaluation.scoring import score_dataset
from rlsp.files import write_json
from rlsp.metrics.fidelity import PSNR_Y
from rlsp.provenance import imported_modules
from rlsp.reporting.analyses import accuracy, temporal
from rlsp.reporting.printing import markdown_text
from rlsp.reporting.results import Results, collect_rows
from rlsp.shipped import ROOT

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs" / "metrics-and-degradations.md").read_text()
FRAMES, SIDE = 6, 48


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The demo with what the page adds, in a folder with the files of the page."""
    monkeypatch.chdir(tmp_path)
    files = re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert [name for name, _ in files] == ["measures.py", "camera.py"]
    for name, code in files:
        (tmp_path / name).write_text(code)
    config = read_config(ROOT / "config" / "demo.yaml") | {"ablation": [], "reference_model": None}
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL):
        for section, entries in yaml.safe_load(block).items():
            config[section] = {**config.get(section, {}), **entries} if isinstance(entries, dict) else entries
    yield Study(config)
    for name, _ in files:
        sys.modules.pop(name.removesuffix(".py"), None)


def write_restored(folder):
    """A clip of noise and its restored frames: the ground truth, half of its contrast, and so on."""
    truth = np.random.default_rng(0).integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8)
    restored = truth.copy()
    restored[1::2] = 64 + truth[1::2] // 2
    files = [f"noise/{index}.png" for index in range(FRAMES)]
    for file, frame in zip(files, restored, strict=True):
        write_png(folder / "restored" / file, frame)
    manifest = {"run": "mine", "dataset": "made", "clips": {"noise": {"rgb": files, "y": None}}}
    write_json(folder / "restored" / "manifest.json", manifest)
    clip = write_clip(folder / "clips" / "noise.npy", truth)
    manifest = {"dataset": "made", "spec": {}, "licence": "CC0-1.0", "clips": {"noise": clip}}
    write_json(folder / "clips" / "manifest.json", manifest)
    return truth, restored


def test_the_metrics_of_the_page_reach_the_tables_by_name(study, tmp_path):
    truth, restored = write_restored(tmp_path)
    labels = {
        "study": study.name,
        "run": "mine",
        "origin": "external",
        "model": "mine",
        "recipe": None,
        "seed": None,
    }
    score_dataset(
        tmp_path / "restored" / "manifest.json",
        tmp_path / "clips" / "manifest.json",
        None,
        tmp_path / "scores.csv",
        labels=labels | {"degradation": "sensor", "dataset": "made"},
        crops=study.spec.score.crops,
        metrics=[PSNR_Y],
        own=study.own_metrics(),
    )
    collect_rows({"scores": [tmp_path / "scores.csv"]}, study.facts(), tmp_path / "rows")
    results = Results(tmp_path)
    rows = results.scores[results.scores["crop"] == 0].set_index("frame")
    assert rows.loc[0, "sharpness"] == 1 and rows.loc[1, "sharpness"] == pytest.approx(0.5, abs=0.01)
    errors = np.abs(rgb_to_y(restored) - rgb_to_y(truth))
    assert rows.loc[2, "flicker"] == pytest.approx(errors[1].mean())
    accurate, steady = results.of(accuracy.summarise), results.of(temporal.summarise)
    of_protocol = accurate[accurate["protocol"] == study.spec.headline_protocol]
    assert set(of_protocol["clip"]) == {"noise", "mean"}
    assert of_protocol["sharpness"].to_numpy() == pytest.approx(0.75, abs=0.01)
    assert "| sharpness |" in markdown_text(accuracy.tables(accurate, results))
    text = markdown_text(temporal.tables(steady, results))
    assert "flicker [levels]" in text and "degradation sensor (scale 4, phase 1.5, darker 2)" in text


def test_the_degradation_of_the_page_makes_lr_frames(study):
    clip = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), np.uint8)
    lr = degrade(clip, study.degradation("sensor").dump())
    assert (lr.shape, lr.dtype) == ((2, 4, 6, 3), np.uint8)
    assert lr[1, 2, 3, 0] == round(clip[1, 8:12, 12:16, 0].mean()) - 2
    assert study.degradation("sensor").first_pixel == np.mean(range(4))


def test_the_code_of_the_page_counts_where_it_is_used(study):
    """In the rules score and degrade."""
    assert study.code_of_metrics() == ["measures"] and study.code_of_degradation("sensor") == ["camera"]
    assert imported_modules("measures", "camera") == ["camera", "measures"]
