import math

import numpy as np
import pandas as pd
import pytest

from rlsp.config.specs.metrics import OwnMetric
from rlsp.config.specs.protocols import Protocol
from rlsp.errors import ConfigError, DataError
from rlsp.metrics import METRICS
from rlsp.metrics.fidelity import SSIM_Y
from rlsp.metrics.metric import Metric
from rlsp.reporting.protocols import (
    apply_protocol,
    equal_frames_text,
    leave_one_clip_out,
    mean_over_clips,
    measured,
    metric_label,
    mse_of_psnr,
    protocol_label,
    variant_labels,
)

LABELS = {
    **{"study": "made", "run": "a", "origin": "trained", "model": "m", "recipe": "demo", "seed": 0},
    **{"degradation": "gaussian", "dataset": "set"},
}


def protocol(**changes):
    return Protocol(**{"channel": "y", "crop": 8, "trim": (0, 0), "average": "frame"} | changes)


def own(kind="frame", **changes):
    """Make the record of a measure of the user's own, the luma error ``error``."""
    spec = {"function": "a:b", "kind": kind, "inputs": ["reference", "restored"], "better": "lower"}
    return Metric.of_own("error", OwnMetric.parse(spec | changes))


def rows(mse_y, *, clip="one", crop=8, rgb_offset=-1.0, **labels):
    mse_y = np.asarray(mse_y, float)
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(255**2 / mse_y)
    return pd.DataFrame(
        {
            **(LABELS | labels),
            **{"clip": clip, "frame": range(len(mse_y)), "crop": crop, "mse_y": mse_y, "psnr_y": psnr},
            **{"ssim_y": 0.5 + 0.01 * np.arange(len(mse_y)), "psnr_rgb": psnr + rgb_offset},
            "tof": [None, *np.arange(1.0, len(mse_y))],
            "warp_error": [None, *np.arange(1.0, len(mse_y)) * 10],
        }
    )


def test_frame_and_video_averages_are_those_worked_out_by_hand():
    # mean squared errors 1 and 100: 48.1308 and 28.1308 dB; their mean 50.5 is 31.0979 dB
    scores = rows([1, 100])
    assert apply_protocol(scores, protocol())["psnr"].item() == pytest.approx(38.1308, abs=5e-5)
    video = apply_protocol(scores, protocol(average="video"))["psnr"].item()
    assert video == pytest.approx(31.0979, abs=5e-5)


def test_rgb_video_average_is_that_of_the_squared_errors_behind_the_psnr():
    scores = rows([1, 100], rgb_offset=0.0)
    video = apply_protocol(scores, protocol(channel="rgb", average="video"))["psnr"].item()
    assert video == pytest.approx(31.0979, abs=5e-5)
    assert mse_of_psnr(10 * math.log10(255**2 / 7.25)) == pytest.approx(7.25, rel=1e-12)
    lower = apply_protocol(rows([1, 100]), protocol(channel="rgb"))["psnr"].item()
    assert lower == pytest.approx(37.1308, abs=5e-5)


def test_trim_drops_the_first_and_last_frames():
    scores = rows([9999, 9999, 1, 1, 9999])
    result = apply_protocol(scores, protocol(trim=[2, 1]))
    assert result["psnr"].item() == pytest.approx(48.1308, abs=5e-5)
    assert result["n_frames"].item() == 2
    assert result["ssim"].item() == pytest.approx(0.525)


def test_temporal_metrics_have_their_own_trim_whatever_the_protocol():
    # seven frames: tOF of the pairs ending in frames 3 and 4 (TecoGAN's cutfr = 2), warping error of all six
    for trim in ([0, 0], [2, 3]):
        result = apply_protocol(rows([1] * 7), protocol(trim=trim))
        assert result["tof"].item() == pytest.approx(3.5)
        assert result["warp_error"].item() == pytest.approx(35.0)


def test_clips_too_short_for_tof_have_none():
    result = apply_protocol(rows([1] * 5), protocol())
    assert math.isnan(result["tof"].item())
    assert result["warp_error"].item() == pytest.approx(25.0)


def test_frames_are_sorted_before_they_are_trimmed():
    scores = rows([9999, 1, 1]).iloc[[1, 2, 0]]
    assert apply_protocol(scores, protocol(trim=[1, 0]))["psnr"].item() == pytest.approx(48.1308, abs=5e-5)


def test_crop_chooses_among_the_scored_ones():
    scores = pd.concat([rows([1, 1]), rows([100, 100], crop=0)])
    assert apply_protocol(scores, protocol(crop=0))["psnr"].item() == pytest.approx(28.1308, abs=5e-5)
    with pytest.raises(ConfigError, match=r"expected a crop that was scored \(0, 8\), got 4"):
        apply_protocol(scores, protocol(crop=4))


def test_clips_that_equal_the_ground_truth_are_infinite_and_left_out_of_comparisons():
    scores = rows([0, 0])
    for channel, average in (("y", "frame"), ("y", "video"), ("rgb", "video")):
        result = apply_protocol(scores, protocol(channel=channel, average=average))
        assert result["psnr_all"].item() == math.inf and math.isnan(result["psnr"].item())
    both = apply_protocol(pd.concat([scores, rows([1, 1], clip="two")]), protocol())
    means = mean_over_clips(both)
    assert means["psnr"].item() == pytest.approx(48.1308, abs=5e-5) and means["psnr_all"].item() == math.inf


def test_a_frame_that_equals_the_ground_truth_is_left_out_for_every_run():
    # 48.1308, infinite and 28.1308 dB; another run without an equal frame
    scores = pd.concat([rows([1, 0, 100]), rows([100, 1, 100], run="b")], ignore_index=True)
    a, b = apply_protocol(scores, protocol()).itertuples()
    assert a.psnr == pytest.approx(38.1308, abs=5e-5) and a.psnr_all == math.inf and a.n_frames == 3
    assert b.psnr == pytest.approx(28.1308, abs=5e-5)
    assert b.psnr_all == pytest.approx((28.1308 + 48.1308 + 28.1308) / 3, abs=5e-5)
    assert equal_frames_text(scores, protocol()) == "one 1"
    assert equal_frames_text(scores, protocol(trim=(2, 0))) == ""
    # pooled errors are finite, and keep the frame
    video = apply_protocol(scores, protocol(average="video"))
    assert (
        video["psnr"].iloc[0] == video["psnr_all"].iloc[0] == pytest.approx(10 * math.log10(255**2 * 3 / 101))
    )


def test_runs_without_rgb_pictures_have_no_rgb_value_and_half_a_clip_is_an_error():
    scores = rows([1, 1]).assign(psnr_rgb=np.nan)
    assert math.isnan(apply_protocol(scores, protocol(channel="rgb"))["psnr"].item())
    without = apply_protocol(scores.drop(columns="psnr_rgb"), protocol(channel="rgb"))
    assert math.isnan(without["psnr"].item())
    scores.loc[0, "psnr_rgb"] = 40.0
    with pytest.raises(DataError, match=r"a: set/one: psnr_rgb: .* 1 are empty"):
        apply_protocol(scores, protocol(channel="rgb"))


def test_runs_without_seed_or_recipe_are_kept():
    scores = pd.concat([rows([1]), rows([100], run="b", seed=None, recipe=None, origin="interpolation")])
    scores = scores.astype({"seed": "Int64"})
    result = apply_protocol(scores, protocol())
    assert list(result["run"]) == ["a", "b"]
    assert result["seed"].isna().tolist() == [False, True]
    assert len(mean_over_clips(result)) == 2


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (rows([1, 1]).drop(columns="psnr_y"), "missing columns psnr_y"),
        (pd.concat([rows([1]), rows([1], study="other", run="b")]), "expected one study, got made, other"),
        (
            pd.concat([rows([1, 1]), rows([1, 1])]),
            r"a: set/one: expected each frame 0..3 once, got 0, 0, 1, 1",
        ),
        (rows([1, 1, 1]).drop(index=1), r"expected each frame 0..1 once, got 0, 2"),
        (rows([1, 1]).iloc[:0], "expected at least one row"),
    ],
)
def test_incomplete_scores_are_refused(broken, message):
    with pytest.raises(DataError, match=message):
        apply_protocol(broken, protocol())


@pytest.mark.parametrize("trim", [[1, 1], [2, 0], [0, 9]])
def test_a_trim_that_leaves_nothing_is_refused(trim):
    with pytest.raises(
        DataError, match=rf"set/one: a trim of {trim[0]}\+{trim[1]} leaves none of its 2 frames"
    ):
        apply_protocol(rows([1, 1]), protocol(trim=trim))


def test_labels_name_everything():
    paper = protocol(trim=[2, 2], average="video")
    assert protocol_label(paper) == "PSNR-Y, crop 8, trim 2+2, video"
    assert protocol_label(protocol(channel="rgb", crop=0)) == "PSNR-RGB, crop 0, trim 0+0, frame"
    assert metric_label(SSIM_Y, paper) == "SSIM-Y, crop 8, trim 2+2, frame"
    told = own(label="error", trim=[1, 0], note="mean absolute error of the luma")
    assert metric_label(told, paper) == "error, crop 8, trim 1+0, frame (mean absolute error of the luma)"
    assert metric_label(own(inputs=["restored_grey"]), paper) == "error, whole frame, trim 2+2, frame"


def test_measures_of_the_users_own_are_averaged_by_their_kind():
    scores = rows([1] * 5).assign(error=[9.0, 1, 2, 3, 9])
    trimmed = protocol(trim=(1, 1))

    def average(metric, of=scores):
        return apply_protocol(of, trimmed, [*METRICS, metric])["error"].item()

    assert average(own()) == pytest.approx(2)  # the trim of the protocol
    assert average(own(trim=[2, 0])) == pytest.approx(14 / 3)
    pairs = scores.assign(error=[None, 1.0, 2, 3, 9])
    assert average(own("pair", trim=[0, 0]), pairs) == pytest.approx(15 / 4)
    clip = scores.assign(error=[7.5, None, None, None, None])
    assert average(own("clip"), clip) == 7.5
    assert math.isnan(average(own(), pairs.assign(error=[9, 1, None, 3, 9])))  # a gap is never averaged over


def test_scores_from_before_a_measure_was_added_are_averaged_without_it():
    assert [metric.name for metric in measured(rows([1]), [*METRICS, own()])] == [
        "ssim_y",
        "tof",
        "warp_error",
    ]
    assert "error" not in apply_protocol(rows([1, 1]), protocol(), [*METRICS, own()]).columns


def test_clips_count_the_same_whatever_their_length():
    scores = pd.concat([rows([1]), rows([100] * 9, clip="two")])
    mean = mean_over_clips(apply_protocol(scores, protocol()))
    assert mean["psnr"].item() == pytest.approx(38.1308, abs=5e-5)
    assert (mean["n_clips"].item(), mean["n_frames"].item()) == (2, 10)


def test_each_clip_is_left_out_in_turn():
    scores = pd.concat([rows([1]), rows([100], clip="two"), rows([10000], clip="three")])
    result = leave_one_clip_out(apply_protocol(scores, protocol())).set_index("left_out")
    assert result.loc["one", "psnr"] == pytest.approx(18.1308, abs=5e-5)
    assert result.loc["two", "psnr"] == pytest.approx(28.1308, abs=5e-5)
    assert result.loc["three", "psnr"] == pytest.approx(38.1308, abs=5e-5)
    assert leave_one_clip_out(apply_protocol(rows([1]), protocol())).empty


def test_variants_are_named_as_short_as_tells_them_apart():
    def label(run, **changes):
        return LABELS | {"run": run} | changes

    def names(*labels):
        return list(variant_labels(pd.DataFrame(labels)))

    assert names(label("a"), label("b", seed=1)) == ["m", "m"]
    released = label("r", origin="released-weights", recipe=None, seed=None)
    assert names(label("a"), released) == ["m (trained)", "m (released weights)"]
    assert names(label("a"), label("b", recipe="paper")) == ["m (demo)", "m (paper)"]
    assert names(label("a"), label("other-set")) == ["a", "other-set"]
    assert names(label("a"), label("mine", model=None, origin="external")) == ["m", "mine"]
