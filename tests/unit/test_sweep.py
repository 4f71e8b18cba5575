import csv

import pytest

from rlsp.columns import SWEEP
from rlsp.config.specs.models import parse_model
from rlsp.config.specs.study import Runtime
from rlsp.errors import ConfigError
from rlsp.timing import sweep
from rlsp.timing.sweep import list_sweep, sweep_model

SPEC = {"arch": "rlsp", "layers": 2, "filters": 4}


def test_one_quantity_varies_at_a_time():
    cases = list_sweep("rlsp", parse_model({"arch": "rlsp", "layers": 7, "filters": 64}), "cpu")
    plain = (64, 7, (45, 80), None)
    for (quantity, value), case in cases.items():
        now = (case.spec.filters, case.spec.layers, case.lr_size, case.clip_length)
        changed = [index for index in range(4) if now[index] != plain[index]]
        place = {"filters": 0, "layers": 1, "lr_pixels": 2, "clip_length": 3}[quantity]
        assert changed in ([], [place])
        assert value == (now[2][0] * now[2][1] if quantity == "lr_pixels" else now[place])
    assert max(value for quantity, value in cases if quantity == "lr_pixels") == 180 * 320
    assert len(list_sweep("rlsp", parse_model(SPEC), "cuda:0")) == len(cases) == 20


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="runtime.sweep: expected a model with layers, got frvsr"):
        list_sweep("frvsr", parse_model({"arch": "frvsr", "blocks": 3, "filters": 64}), "cpu")


@pytest.mark.slow
def test_every_sample_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "LR_SIZES", {"cpu": [(8, 8), (16, 16)]})
    monkeypatch.setattr(sweep, "CLIP_LENGTHS", [1, 8])
    monkeypatch.setattr(sweep, "FILTERS", [2])
    monkeypatch.setattr(sweep, "LAYERS", [2, -1])
    timing = Runtime(repeats=4, warmup=1, seconds=1, threads=1)
    sweep_model("rlsp", SPEC, tmp_path / "sweep.csv", study="test", timing=timing, device="cpu")
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert tuple(rows[0]) == SWEEP.names
    found = [(row["quantity"], row["value"]) for row in rows if row["repeat"] in ("0", "")]
    assert found == [
        ("lr_pixels", "64"), ("lr_pixels", "256"), ("clip_length", "1"), ("clip_length", "8"), ("filters", "2"),
        ("layers", "2"), ("layers", "-1"),
    ]  # fmt: skip
    time = {(row["quantity"], row["value"]): float(row["runtime_ms"]) for row in rows if row["runtime_ms"]}
    assert time["clip_length", "8"] > 3 * time["clip_length", "1"]
    assert len(rows) == 6 * 4 + 1
    assert rows[-1]["status"].startswith(
        "failed: ConfigError: model rlsp.layers: expected a minimum of 2, got -1"
    )
    assert rows[-1]["runtime_ms"] == ""
