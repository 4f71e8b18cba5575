"""Measures and degradations of a user's own in tables, captions and figures, whose code is not there."""

import numpy as np
import pytest
from made_tables import made_runs, made_scores, made_study, write_made

from rlsp import metrics as known
from rlsp.config.specs.facts import Facts
from rlsp.reporting.analyses import accuracy, leave_one_clip_out, temporal
from rlsp.reporting.captions import degradation_text
from rlsp.reporting.printing import markdown_text
from rlsp.reporting.results import Results

pytestmark = pytest.mark.slow
LUMA = ["reference", "restored"]
FRAMES = {"function": "gone:edges", "kind": "frame", "inputs": LUMA, "better": "higher", "label": "edges"}
FRAMES |= {"unit": "%", "decimals": 1, "factor": 100, "note": "share of the edges"}
PAIRS = {"function": "gone:shake", "kind": "pair", "inputs": LUMA, "better": "lower", "trim": [2, 0]}
CLIPS = {
    "function": "gone:drift",
    "kind": "clip",
    "inputs": LUMA,
    "better": "lower",
    "note": "drift of the mean",
}
METRICS = {"edges": FRAMES, "shake": PAIRS, "drift_y": CLIPS | {"decimals": 0}}


def scores():
    """Rows of one seed: edges 0.5 and 0.9, shake the number of the frame, drift 10 and 20."""
    rows = made_scores(made_runs(long_name=False))
    is_bicubic = rows["model"] == "bicubic"
    return rows.assign(
        edges=np.where(is_bicubic, 0.5, 0.9),
        shake=rows["frame"].where(rows["frame"] > 0),
        drift_y=np.where(is_bicubic, 20.0, 10.0) / (rows["frame"] == 0),
    ).replace(np.inf, np.nan)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return write_made(folder, scores=scores(), study=made_study(metrics=METRICS), long_name=False)


def test_a_study_tells_its_own_measures_and_nothing_imports_them(made):
    shipped, own = made.metrics[:-3], made.metrics[-3:]
    assert [metric.name for metric in own] == list(METRICS) and "edges" not in {m.name for m in shipped}
    assert [metric.function for metric in own] == [None] * 3
    assert [metric.head for metric in own] == ["edges x 100 [%]", "shake", "drift_y"]


def test_measures_of_frames_reach_the_tables_and_captions_of_accuracy(made):
    frame = made.of(accuracy.summarise)
    means = frame[(frame["clip"] == "mean") & (frame["protocol"] == "paper")].set_index("variant")["edges"]
    assert set(means[["bicubic"]]) == {0.5} and means["rlsp-5-32"].to_numpy() == pytest.approx(0.9)
    text = markdown_text(accuracy.tables(frame, made))
    assert "edges x 100 [%]" in text and "| **90.0** |" in text and "| 50.0 |" in text
    assert "edges, crop 8, trim 2+2, frame (share of the edges)" in text
    assert "edges" in leave_one_clip_out.summarise(made).columns
    panels = [axis.get_ylabel() for axis in accuracy.figure(frame, made).axes]
    assert sum(label.startswith("edges of the frame") for label in panels) == 1


def test_measures_of_pairs_and_clips_reach_those_of_temporal_consistency(made):
    frame = made.of(temporal.summarise)
    mean = frame[frame["clip"] == "mean"].set_index("variant")
    assert mean.loc["bicubic", "drift"].tolist() == [20, 20]
    clip = frame[frame["clip"] == "coffee"].set_index("variant")
    assert clip.loc["bicubic", "shake"] == np.mean(range(2, 16))  # of 16 frames the first two are left out
    text = markdown_text(temporal.tables(frame, made))
    assert "shake: trim 2+0." in text and "drift_y: drift of the mean." in text
    assert "| shake | drift_y |" in text and "| **10** |" in text
    drawn = {axis.get_xlabel() for axis in temporal.figure(frame, made).axes}
    assert {"shake", "drift_y"} <= drawn
    said = " ".join(temporal.findings(frame, made))
    assert "drift_y" in said and "shake" in said


def test_rows_kept_from_before_a_measure_was_added_still_read(made, tmp_path):
    before = write_made(tmp_path, study=made_study(metrics=METRICS), long_name=False)
    for analysis in (accuracy, temporal, leave_one_clip_out):
        frame = before.of(analysis.summarise)
        assert not {"edges", "shake", "drift"} & set(frame.columns)
        assert "edges" not in markdown_text(analysis.tables(frame, before))
        analysis.figure(frame, before)
        analysis.findings(frame, before)


def test_rows_with_columns_that_the_study_no_longer_tells_still_read(tmp_path):
    after = write_made(tmp_path, scores=scores(), long_name=False)
    assert len(Results(tmp_path).metrics) == len(known.METRICS)
    assert "edges" not in after.of(accuracy.summarise).columns


def test_captions_tell_the_phase_and_the_arguments_of_a_degradation_of_the_users_own():
    own = {"kind": "gone:blur", "first_pixel": 1.5, "scale": 4, "strength": 0.25, "shape": "disc"}
    facts = Facts.read(made_study(degradations={"camera": own}))
    assert degradation_text("camera", facts) == "camera (scale 4, phase 1.5, shape disc, strength 0.25)"
    assert degradation_text("other", facts) == "other"
