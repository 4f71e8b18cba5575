"""Scores of frames as they come: equal ones, flat ones, small ones, and what averages make of them."""

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from cases import Case, names, run
from made_tables import made_runs, made_scores, made_study, write_made

from rlsp.data.clips import write_clip
from rlsp.data.images import write_png
from rlsp.evaluation.scoring import score_dataset
from rlsp.files import write_json
from rlsp.metrics import METRICS
from rlsp.reporting.analyses import ANALYSES
from rlsp.reporting.protocols import apply_protocol, mean_over_clips
from rlsp.reporting.render import render_figures, render_tables

LABELS = {
    **{"study": "made", "run": "mine", "origin": "external", "model": "mine", "recipe": "", "seed": ""},
    **{"degradation": "gaussian", "dataset": "set"},
}
FRAMES = [metric for metric in METRICS if metric.kind == "frame"]


def picture(level=None, height=40, width=48):
    if level is not None:
        return np.full((height, width, 3), level, np.uint8)
    return np.random.default_rng(0).integers(30, 220, (height, width, 3)).astype(np.uint8)


def scored(folder, truth, restored, crops=(0,), y=None):
    """Score frames against the ground truth; returns the table."""
    truth = np.stack(truth)
    write_json(
        folder / "gt/manifest.json",
        {"dataset": "set", "clips": {"a": write_clip(folder / "gt/a.npy", truth)}},
    )
    files = {"rgb": restored, "y": y}
    listed = {"rgb": None, "y": None}
    for kind, frames in files.items():
        if frames is not None:
            for number, frame in enumerate(frames):
                write_png(folder / f"sr/{kind}/{number}.png", frame)
            listed[kind] = [f"{kind}/{number}.png" for number in range(len(frames))]
    write_json(folder / "sr/manifest.json", {"run": "mine", "dataset": "set", "clips": {"a": listed}})
    score_dataset(
        folder / "sr/manifest.json", folder / "gt/manifest.json", None, folder / "scores.csv", labels=LABELS, crops=crops, metrics=FRAMES,
    )  # fmt: skip
    return pd.read_csv(folder / "scores.csv")


def column(name, *values, most=5e-5):
    def check(folder, table):
        assert table[name].tolist() == pytest.approx(list(values), abs=most, nan_ok=True)

    return check


def lighter(frame, levels=1):
    return (frame.astype(int) + levels).astype(np.uint8)


# of RGB: n levels lighter, 20 log10(255 / n); of luma (255 / 219) times more: 1 level of RGB is 219/255 of luma
ONE_Y = 48.1308 + 20 * math.log10(255 / 219)
RIGHT = [
    Case("identical", lambda d: scored(d, [picture()], [picture()]), is_refused=False, check=column("psnr_y", math.inf)),
    Case("identical, SSIM", lambda d: scored(d, [picture()], [picture()]), is_refused=False, check=column("ssim_y", 1)),
    *(
        Case(f"{n} levels lighter, RGB", lambda d, n=n: scored(d, [picture()], [lighter(picture(), n)]), is_refused=False, check=column("psnr_rgb", 48.1308 - 20 * math.log10(n)))
        for n in (1, 2, 5, 10)
    ),
    *(
        Case(f"{n} levels lighter, Y", lambda d, n=n: scored(d, [picture()], [lighter(picture(), n)]), is_refused=False, check=column("psnr_y", ONE_Y - 20 * math.log10(n), most=0.02))
        for n in (1, 2, 5, 10)
    ),
    *(
        Case(f"flat frames of level {level}", lambda d, level=level: scored(d, [picture(level)], [picture(level)]), is_refused=False, check=column("psnr_y", math.inf))
        for level in (0, 128, 255)
    ),
    Case("black against white", lambda d: scored(d, [picture(0)], [picture(255)]), is_refused=False, check=column("psnr_rgb", 0)),
    Case("black against white, Y", lambda d: scored(d, [picture(0)], [picture(255)]), is_refused=False, check=column("psnr_y", 20 * math.log10(255 / 219))),
    Case("one equal among three", lambda d: scored(d, [picture()] * 3, [lighter(picture()), picture(), lighter(picture())]), is_refused=False, check=column("psnr_rgb", 48.1308, math.inf, 48.1308)),
    Case("single frame", lambda d: scored(d, [picture()], [lighter(picture())]), is_refused=False, check=column("frame", 0)),
    Case("crop 8", lambda d: scored(d, [picture()], [lighter(picture())], crops=(8,)), is_refused=False, check=column("psnr_rgb", 48.1308)),
    Case("smallest frames", lambda d: scored(d, [picture(None, 11, 11)], [picture(None, 11, 11)]), is_refused=False, check=column("ssim_y", 1)),
    Case("luma alone", lambda d: scored(d, [picture(0)], None, y=[picture(16)[..., 0]]), is_refused=False, check=column("psnr_y", math.inf)),
    Case("luma alone, no RGB", lambda d: scored(d, [picture(0)], None, y=[picture(17)[..., 0]]), is_refused=False, check=column("psnr_rgb", math.nan)),
    Case("luma 1 level off", lambda d: scored(d, [picture(0)], None, y=[picture(17)[..., 0]]), is_refused=False, check=column("psnr_y", 48.1308)),
    Case("white put out as 245", lambda d: scored(d, [picture(255)], [picture(255)], y=[picture(245)[..., 0]]), is_refused=False, check=column("psnr_y", 28.1308, most=2e-4)),
    Case("white put out as 245, clipped", lambda d: scored(d, [picture(255)], [picture(255)], y=[picture(245)[..., 0]]), is_refused=False, check=column("psnr_y_of_rgb", math.inf)),
    Case("luma of RGB without RGB", lambda d: scored(d, [picture(0)], None, y=[picture(16)[..., 0]]), is_refused=False, check=column("psnr_y_of_rgb", math.nan)),
    Case("luma stands before RGB", lambda d: scored(d, [picture(0)], [picture(9)], y=[picture(16)[..., 0]]), is_refused=False, check=column("psnr_y", math.inf)),
]  # fmt: skip
WRONG = [
    Case("too small for SSIM", lambda d: scored(d, [picture(None, 10, 10)], [picture(None, 10, 10)]), "clip a: expected at least 11 pixels each way inside crop 0"),
    Case("too small for the crop", lambda d: scored(d, [picture()], [picture()], crops=(16,)), "at least 11 pixels each way inside crop 16, got frames of 48x40"),
    Case("another size", lambda d: scored(d, [picture()], [picture(None, 36, 48)]), "0.png: expected 48x40 RGB like the truth, got 48x36 RGB"),
    Case("grey for RGB", lambda d: scored(d, [picture()], [picture()[..., 0]]), "0.png: expected 48x40 RGB like the truth, got 48x40 grey"),
    Case("RGB for luma", lambda d: scored(d, [picture()], None, y=[picture()]), "0.png: expected 48x40 grey like the truth, got 48x40 RGB"),
    Case("one frame too few", lambda d: scored(d, [picture()] * 2, [picture()]), "clip a: expected 2 rgb pictures, got 1"),
    Case("one frame too many", lambda d: scored(d, [picture()], [picture()] * 2), "clip a: expected 1 rgb pictures, got 2"),
    Case("neither RGB nor luma", lambda d: scored(d, [picture()], None), "clip a: expected rgb or y pictures, got neither"),
    Case("no crop", lambda d: scored(d, [picture()], [picture()], crops=()), "crops: expected different whole numbers"),
    Case("a crop twice", lambda d: scored(d, [picture()], [picture()], crops=(8, 8)), "crops: expected different whole numbers"),
    Case("a negative crop", lambda d: scored(d, [picture()], [picture()], crops=(-1,)), "crops: expected different whole numbers"),
    Case("a crop of text", lambda d: scored(d, [picture()], [picture()], crops=("8",)), "crops: expected different whole numbers"),
]  # fmt: skip

# ---- averages ------------------------------------------------------------------------------------

PROTOCOLS = {
    "frame": {"channel": "y", "crop": 8, "trim": [0, 0], "average": "frame"},
    "video": {"channel": "y", "crop": 8, "trim": [0, 0], "average": "video"},
    "long": {"channel": "y", "crop": 8, "trim": [9, 9], "average": "frame"},
    "crop5": {"channel": "y", "crop": 5, "trim": [0, 0], "average": "frame"},
}


def equal_frame(scores, clip="coffee", frame=3, run=None):
    """Let a frame equal the ground truth, in one run or in all of them."""
    chosen = (scores["clip"] == clip) & (scores["frame"] == frame) & ((scores["run"] == run) | (run is None))
    return scores.assign(
        psnr_y=scores["psnr_y"].mask(chosen, math.inf), mse_y=scores["mse_y"].mask(chosen, 0.0),
        psnr_rgb=scores["psnr_rgb"].mask(chosen, math.inf), ssim_y=scores["ssim_y"].mask(chosen, 1.0),
    )  # fmt: skip


def changed_scores(**changes):
    return made_scores(made_runs(), crops=(8,)).assign(**changes)


def averaged(protocol, change):
    from rlsp.config.specs.protocols import Protocol

    table = change(made_scores(made_runs(), crops=(8,)))
    return mean_over_clips(apply_protocol(table, Protocol.parse(PROTOCOLS[protocol])))


def is_finite(folder, means):
    assert np.isfinite(means["psnr"]).all() and len(means) == 16


AVERAGES = [
    Case("an equal frame, frame average", lambda d: averaged("frame", equal_frame), is_refused=False, check=is_finite),
    Case("an equal frame, video average", lambda d: averaged("video", equal_frame), is_refused=False, check=is_finite),
    Case("a trim that leaves nothing", lambda d: averaged("long", lambda s: s), r"photos/coffee: a trim of 9\+9 leaves none of its 16 frames"),
    Case("a crop that was not scored", lambda d: averaged("crop5", lambda s: s), r"expected a crop that was scored \(8\), got 5"),
    Case("no rows", lambda d: averaged("frame", lambda s: s[:0]), "scores: expected at least one row, got none"),
    Case("a missing frame", lambda d: averaged("frame", lambda s: s[s["frame"] != 5]), "expected each frame 0..14 once|expected each frame"),
    Case("a frame twice", lambda d: averaged("frame", lambda s: pd.concat([s, s[:1]])), "expected each frame"),
    Case("an empty PSNR", lambda d: averaged("frame", lambda s: s.assign(psnr_y=s["psnr_y"].mask(s["frame"] == 2))), "psnr_y: expected a number for each frame"),
    Case("two studies", lambda d: averaged("frame", lambda s: pd.concat([s, s.assign(study="other")])), "expected one study, got made, other"),
    Case("a clip called mean", lambda d: averaged("frame", lambda s: s.assign(clip="mean")), "a clip is called mean"),
    Case("without the column psnr_y", lambda d: averaged("frame", lambda s: s.drop(columns="psnr_y")), "missing columns psnr_y"),
    Case("without the column frame", lambda d: averaged("frame", lambda s: s.drop(columns="frame")), "missing columns frame"),
]  # fmt: skip

CASES = [*RIGHT, *WRONG, *AVERAGES]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_number(case, tmp_path, capfd):
    run(case, tmp_path, capfd)


def test_a_report_with_an_equal_frame_names_it_and_compares_the_others(tmp_path):
    scores = equal_frame(made_scores(made_runs(), crops=(8,)))
    study = made_study(
        protocols=PROTOCOLS | {"long": PROTOCOLS["video"], "crop5": PROTOCOLS["video"]},
        headline_protocol="frame",
    )
    write_made(tmp_path, scores=scores, study=study)
    render_tables(tmp_path)
    render_figures(tmp_path, tmp_path / "figures")
    table = (tmp_path / "tables/accuracy.md").read_text()
    assert (
        "of infinite PSNR: frames coffee 3." in table
        and "PSNR-Y of other frames [dB]" in table
        and "inf" in table
    )
    findings = (tmp_path / "tables/findings.md").read_text()
    assert "inf" not in findings and "nan" not in findings
    drawn = Counter(path.suffix for path in (tmp_path / "figures").iterdir())
    assert drawn[".png"] >= 3 and set(drawn) <= {".png", ".pdf"}
    for name in ANALYSES:
        if name != "accuracy" and (tmp_path / f"tables/{name}.md").exists():
            assert "inf" not in (tmp_path / f"tables/{name}.md").read_text().replace("inference", "").replace(
                "information", ""
            ), name
