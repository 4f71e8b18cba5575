import re
import shutil

import numpy as np
import pandas as pd
import pytest
from made_tables import made_cases

from rlsp.columns import RUNTIME
from rlsp.errors import DataError
from rlsp.models.complexity import write_counts
from rlsp.reporting.claims import CLAIM_COLUMNS, COLD_START_FRAMES, write_claims
from rlsp.reporting.evidence import DEGRADATIONS, LEDGER_PROTOCOLS, VID4_FRAMES, Measured
from rlsp.reporting.protocols import protocol_label
from rlsp.reporting.published import (
    PUBLISHED,
    PUBLISHED_COLUMNS,
    Printed,
    find_printed,
    published_points,
    read_published,
)
from rlsp.reporting.verdicts import Rule, decide, decide_speedup

VIDEO, FRAME, VIDEO_ALL, FRAME_ALL = (
    f"PSNR-Y, crop 8, trim {trim}, {average}" for trim in ("2+2", "0+0") for average in ("video", "frame")
)
# Means that the released frames have by crop 8, trim 2+2, video, to which the made clips are shifted.
LEVELS = {"rlsp-7-64": 26.89, "rlsp-7-128": 27.46, "rlsp-7-256": 27.55, "duf-16l": 26.83, "duf-52l": 27.35}
CITY = {"rlsp-7-128": 1.38, "duf-52l": 0.93}  # how far city lies above the mean of the four clips
SPECS = {f"rlsp-7-{f}": {"arch": "rlsp", "layers": 7, "filters": f, "output": "y"} for f in (48, 64)}
STUDY = {"study": "released", "models": SPECS}


def made_rows(
    model, level, *, origin="released-frames", first=None, study="released", recipe=None, seed=None
):
    """Rows of a run whose every frame after the first six has its clip's PSNR; the start is cold."""
    rows = []
    run = f"{model}-{origin}-{seed}"
    for clip, count in VID4_FRAMES.items():
        shift = CITY.get(model, 0.0)
        base = level + (shift if clip == "city" else -shift / 3)
        for frame in range(count if first is None else min(first, count)):
            psnr = base - (1.8 * 0.5**frame if 0 <= frame < 2 else 0)
            for crop in (0, 8):
                value = psnr - 0.3 * (crop == 0)
                row = {"study": study, "run": run, "origin": origin, "model": model, "recipe": recipe}
                row |= {"seed": seed, "degradation": DEGRADATIONS[model], "dataset": "vid4", "clip": clip}
                row |= {"frame": frame, "crop": crop, "mse_y": 255**2 / 10 ** (value / 10), "psnr_y": value}
                row |= {"ssim_y": 0.8327, "psnr_rgb": None, "tof": 0.2 + (27 - level) / 20 if frame else None}
                rows.append(row | {"warp_error": None})
    return pd.DataFrame(rows)


def made_runtime(models, lr_size=(270, 480), device="one GPU", study="released"):
    setting = {"device": device, "threads": 1, "precision": "fp32", "mode": "eager", "boundary": "network"}
    setting |= {"lr_height": lr_size[0], "lr_width": lr_size[1], "batch": 1, "spec_hash": "00000000"}
    rows = [
        {
            "study": study,
            "model": model,
            "repeat": n,
            "runtime_ms": time,
            "parameters": 1,
            "gmac_per_frame": 1,
        }
        for model, time in models.items()
        for n in range(3)
    ]
    return pd.DataFrame([row | setting | {"peak_memory_mb": 1} for row in rows], columns=RUNTIME.names)


def write_made(folder, scores, runtime=None):
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(scores).to_csv(folder / "scores.csv", index=False)
    (made_runtime({}) if runtime is None else runtime).to_csv(folder / "runtime.csv", index=False)
    return folder


def released(levels=LEVELS, **changes):
    return [made_rows(model, level, **changes) for model, level in levels.items()]


def ledger(folder, others=(), study=None, published=None):
    study = study or {"study": "released", "models": {}}
    write_counts(study["models"], folder / "counts.csv")
    write_claims(folder, study, others, published=published)
    table = pd.read_csv(folder / "claims.csv", keep_default_na=False)
    assert tuple(table.columns) == CLAIM_COLUMNS
    return table


def find(table, claim, protocol=None):
    rows = table[table["claim"].str.startswith(claim)]
    if protocol is not None:
        rows = rows[rows["protocol"].str.startswith(protocol)]
    assert len(rows) == 1, rows
    return rows.iloc[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = write_made(tmp_path_factory.mktemp("claims") / "tables", released())
    return folder, ledger(folder, study=STUDY)


# Numbers that later tables print, or memory has, and no source read for this project confirms.
RECALLED = (
    r"(?<![\d.])(2754|974|1507|378|137|27\.48|27\.14|26\.81|27\.92|27\.85)\b"
    r"|\.(8145|8388|8505|8503)\b"
)

# ---- published values --------------------------------------------------------------------------


def test_every_published_row_has_a_source_and_a_confidence():
    table = read_published()
    assert tuple(table.columns) == PUBLISHED_COLUMNS
    assert (table["source"].str.len() > 10).all()
    assert set(table["confidence"]) == {"M", "Q", "S"}
    assert not table.duplicated(["model", "dataset", "degradation", "metric", "value", "protocol"]).any()


def test_what_was_measured_here_is_named_calibration_and_nothing_else_is():
    table = read_published()
    assert (table["confidence"].eq("M") == table["metric"].str.endswith("_calibration")).all()


def test_no_number_that_is_only_recalled_is_printed():
    text = PUBLISHED.read_text(encoding="utf-8")
    assert not re.search(RECALLED, text)
    assert re.search(RECALLED, "duf-52l,,,runtime,2754,ms")


def test_run_times_name_their_gpu_or_say_that_it_is_not_known():
    times = read_published()
    times = times[times["metric"] == "runtime"]
    assert times["note"].str.contains("GPU: (?:not stated|Nvidia P100)").all()
    assert times.set_index("model").loc["rlsp-7-128", "value"] == "38"


def test_points_have_both_numbers_and_say_which_gpu():
    points = published_points().set_index("model")
    assert points.loc["rlsp-7-128", ["psnr", "runtime_ms"]].tolist() == [27.46, 38]
    assert points.loc["frvsr-10-128", ["psnr", "runtime_ms"]].tolist() == [26.69, 191]
    assert points.loc["frvsr-3-64", ["psnr", "runtime_ms"]].tolist() == [26.17, 76.7]
    assert "not stated" in points.loc["rlsp-7-128", "note"] and "P100" in points.loc["frvsr-3-64", "note"]
    # 27.06 dB is a later rebuild's, 101.5 ms the authors': not one point
    assert "frvsr-10-64" not in points.index
    assert published_points("vid4", "gaussian-1.6").empty


@pytest.mark.parametrize(("column", "value"), [("confidence", "R"), ("source", "")])
def test_a_row_without_source_or_with_another_confidence_is_refused(tmp_path, column, value):
    table = read_published()
    table.loc[3, column] = value
    table.to_csv(tmp_path / "published.csv", index=False)
    with pytest.raises(DataError, match="expected a source and a confidence of M, Q or S"):
        read_published(tmp_path / "published.csv")


# ---- verdicts ----------------------------------------------------------------------------------

RULE = Rule(0.01, "dB", 2)


def printed(text="27.46"):
    published = pd.DataFrame([{"model": "m", "metric": "psnr", "value": text, "unit": "dB", "protocol": ""}])
    return find_printed(published.assign(confidence="Q", source="a paper", note=""), "m", "psnr")


@pytest.mark.parametrize(
    ("value", "text", "verdict"),
    [
        (27.475, "27.46", "reproduced"),  # 0.01 and half of the last digit
        (27.4751, "27.46", "differs by +0.02 dB"),
        (27.445, "27.46", "reproduced"),
        (27.4449, "27.46", "differs by -0.02 dB"),
        (26.86, "26.8", "reproduced"),  # one digit hides ten times as much
        (26.8601, "26.8", "differs by +0.06 dB"),
        (26.86, "26.80", "differs by +0.06 dB"),
    ],
)
def test_verdict_turns_at_the_edge_of_the_tolerance(value, text, verdict):
    assert decide([Measured("released_frames", value, "")], printed(text), None, RULE) == verdict


def test_the_worst_of_several_released_values_decides_and_retrained_ones_do_not():
    frames, weights = Measured("released_frames", 27.46, ""), Measured("released_weights", 27.51, "")
    trained = Measured("retrained", 26.0, "", is_exact=False)
    assert decide([frames, trained], printed(), None, RULE) == "reproduced"
    assert decide([frames, weights, trained], printed(), None, RULE) == "differs by +0.05 dB"


def test_retrained_values_alone_have_the_spread_of_seeds_and_no_calibration():
    near, far = (Measured("retrained", value, "", is_exact=False) for value in (27.40, 27.30))
    assert decide([near], printed(), printed("20.00"), RULE) == "reproduced"
    assert decide([near, far], printed(), None, RULE) == "differs by -0.16 dB"


def test_without_a_published_value_the_calibration_is_named_and_a_failing_one_always():
    value = [Measured("released_frames", 27.46, "")]
    assert decide(value, None, None, RULE) == "published value unknown"
    assert decide(value, None, printed(), RULE) == "published value unknown; calibration reproduced"
    assert decide(value, printed(), printed(), RULE) == "reproduced"
    assert decide(value, printed(), printed("27.40"), RULE) == (
        "reproduced; differs by +0.06 dB from the calibration"
    )


def test_an_order_that_turns_is_never_reproduced():
    rule = Rule(0.02, "dB", 2, is_order=True)
    small = Printed(0.01, 0.01, "+0.01", "Q: a paper")
    assert decide([Measured("released_frames", 0.01, "")], small, None, rule) == "reproduced"
    assert decide([Measured("released_frames", -0.01, "")], small, None, rule) == "order turned"


@pytest.mark.parametrize(
    ("ratio", "factor", "is_bound", "verdict"),
    [
        (70.0, 70, True, "reproduced"),
        (90.0, 70, True, "reproduced"),
        (69.9, 70, True, "differs by -0.1x"),
        (12.0, 10, False, "reproduced"),
        (12.1, 10, False, "differs by +2.1x"),
        (7.9, 10, False, "differs by -2.1x"),
    ],
)
def test_a_speedup_is_a_bound_or_about_right(ratio, factor, is_bound, verdict):
    value = Printed(factor, 0.5, str(factor), "Q: a paper")
    assert decide_speedup([Measured("retrained", ratio, "")], value, is_bound=is_bound) == verdict


# ---- the ledger --------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_accuracy_claim_has_a_row_for_each_protocol_and_one_of_them_is_closest(made):
    rows = made[1][made[1]["claim"] == "PSNR of RLSP 7-128 on Vid4, gaussian"]
    labels = [protocol_label(protocol) for protocol in LEDGER_PROTOCOLS]
    assert (
        [text.partition(" (")[0] for text in rows["protocol"]]
        == labels
        == [VIDEO, FRAME, VIDEO_ALL, FRAME_ALL]
    )
    assert [("closest" in text) for text in rows["protocol"]] == [True, False, False, False]
    assert rows["verdict"].iloc[0] == "reproduced"
    assert rows["released_frames"].iloc[0] == "27.46"
    assert rows["verdict"].iloc[2].startswith("differs by -0.0")  # the cold start counts there


@pytest.mark.slow
def test_numbers_of_the_ledger_are_those_of_the_protocols(made):
    scores = pd.read_csv(made[0] / "scores.csv")
    rows = scores[(scores["model"] == "duf-52l") & (scores["crop"] == 8)]
    for label, trim in ((FRAME, 2), (FRAME_ALL, 0)):
        means = [of["psnr_y"].iloc[trim : len(of) - trim].mean() for _, of in rows.groupby("clip")]
        row = find(made[1], "PSNR of DUF-52L", label)
        assert row["released_frames"] == f"{np.mean(means):.2f}"


@pytest.mark.slow
def test_a_wrong_value_turns_the_verdict(tmp_path, made):
    assert find(made[1], "PSNR of RLSP 7-256", VIDEO)["verdict"] == "reproduced"
    folder = write_made(tmp_path / "tables", released(LEVELS | {"rlsp-7-256": 27.60}))
    row = find(ledger(folder), "PSNR of RLSP 7-256", VIDEO)
    assert row["verdict"].startswith("differs by +0.05 dB")
    published = read_published()
    published.loc[(published["model"] == "rlsp-7-128") & (published["metric"] == "psnr"), "value"] = "27.20"
    row = find(ledger(folder, published=published), "PSNR of RLSP 7-128", VIDEO)
    assert (row["published"], row["verdict"]) == ("27.20", "differs by +0.26 dB")


def test_unknown_published_values_say_so(made):
    row = find(made[1], "PSNR of RLSP 7-64", VIDEO)
    assert row["published"] == "unknown"
    assert row["verdict"] == "published value unknown; calibration reproduced"
    assert "calibration 26.89 (M: " in row["source"]


def test_what_is_not_there_is_not_measured_yet(made):
    for claim in ("PSNR of RLSP 7-48", "PSNR of phase-aligned bicubic", "RLSP 7-128 beats FRVSR 10-128"):
        rows = made[1][made[1]["claim"].str.startswith(claim)]
        assert set(rows["verdict"]) == {"not measured yet"}
        assert set(rows["released_frames"]) | set(rows["retrained"]) == {"–"}
    for claim in ("RLSP 7-128 is over 70", "RLSP 7-128 is about 10", "Time of RLSP", "Adjacent frames"):
        assert find(made[1], claim)["verdict"] == "not measured yet"
    assert find(made[1], "RLSP 7-128 beats FRVSR 10-128", VIDEO)["published"] == "+0.77 (27.46 - 26.69)"


def test_margins_and_the_margin_without_city(made):
    row = find(made[1], "RLSP 7-128 beats DUF-52L on Vid4 (", VIDEO)
    assert (row["published"], row["verdict"]) == ("+0.12 (27.46 - 27.34)", "reproduced")
    assert row["released_frames"] == "+0.11"
    row = find(made[1], "RLSP 7-128 beats DUF-52L on Vid4 without city", VIDEO)
    assert row["released_frames"] == "-0.04"
    assert row["verdict"] == "published value unknown; calibration reproduced; order turned"
    assert find(made[1], "RLSP 7-256 beats RLSP 7-128", VIDEO)["verdict"] == "reproduced"


@pytest.mark.parametrize("first", [1, 7])
def test_cut_clips_give_no_numbers_and_say_why(tmp_path, first):
    table = ledger(write_made(tmp_path / "tables", released(first=first)))
    reason = f"not measured yet (first {first} frame{'s' if first > 1 else ''} only)"
    for claim in (
        "PSNR of RLSP 7-128 on",
        "SSIM of DUF-52L",
        "RLSP 7-128 beats DUF-52L",
        "PSNR of DUF-52L rises",
    ):
        rows = table[table["claim"].str.startswith(claim)]
        assert set(rows["verdict"]) == {reason}
        assert set(rows["released_frames"]) == {"–"}
    assert find(table, "Order in temporal")["verdict"] == reason


def test_a_missing_clip_is_named_and_a_missing_frame_is_an_error(tmp_path):
    rows = made_rows("rlsp-7-128", 27.46)
    table = ledger(write_made(tmp_path / "a", [rows[rows["clip"] != "walk"]]))
    assert find(table, "PSNR of RLSP 7-128 on", VIDEO)["verdict"] == "not measured yet (without walk)"
    rows.loc[(rows["clip"] == "walk") & (rows["frame"] == 5), "frame"] = 50
    with pytest.raises(DataError, match="vid4/walk: expected each frame"):
        ledger(write_made(tmp_path / "b", [rows]))


def test_parameters_and_operations_are_those_of_the_built_models(made):
    row = find(made[1], "Parameters of RLSP 7-64")
    assert row["retrained"] == "282,128 (as built)"
    assert row["verdict"] == "published value unknown; calibration reproduced"
    assert find(made[1], "GMAC of RLSP 7-48")["retrained"] == "21.1 (as built)"
    assert find(made[1], "Parameters of DUF-52L")["verdict"] == "not measured yet"


def test_a_model_of_another_size_is_noticed(tmp_path):
    folder = write_made(tmp_path / "tables", [made_rows("rlsp-7-64", 26.89, origin="released-weights")])
    models = {"rlsp-7-256": SPECS["rlsp-7-48"], "rlsp-7-64": SPECS["rlsp-7-64"] | {"output": "rgb"}}
    table = ledger(folder, study={"study": "released", "models": models})
    assert find(table, "Parameters of RLSP 7-256")["verdict"].startswith("differs by -4,036,784")
    row = find(table, "Parameters of RLSP 7-64")
    assert row["released_weights"] == "319,024"
    assert row["verdict"] == "published value unknown; differs by +36,896 from the calibration"


@pytest.mark.slow
def test_speed_is_compared_on_one_device_only(tmp_path):
    here = write_made(tmp_path / "tables", released(), made_runtime({"rlsp-7-128": 30.0}, device="A"))
    other = write_made(tmp_path / "b", released(study="b"), made_runtime({"duf-52l": 3000.0}, device="B"))
    assert find(ledger(here, [other]), "RLSP 7-128 is over 70")["verdict"] == "not measured yet"
    both = made_runtime({"rlsp-7-128": 30.0, "duf-52l": 2400.0, "frvsr-10-128": 90.0}, device="B")
    table = ledger(here, [write_made(tmp_path / "b", released(study="b"), both)])
    row = find(table, "RLSP 7-128 is over 70")
    assert row["retrained"] == "80.0x (as built; B, LR 480x270, eager, fp32)"
    assert row["verdict"] == "reproduced"
    assert find(table, "RLSP 7-128 is about 10")["verdict"] == "differs by -7.0x"
    row = find(table, "Time of RLSP 7-128")
    assert row["retrained"].count("30.0 ms") == 2
    assert row["verdict"] == "not comparable (published device not stated)"


@pytest.mark.slow
def test_a_speedup_on_a_cpu_says_so_and_does_not_count_where_there_is_a_gpu(tmp_path):
    pair, cpu = {"rlsp-7-128": 1000.0, "duf-52l": 60_000.0}, "Some Processor, 2 logical cores"
    here = write_made(tmp_path / "tables", released(), made_runtime(pair, device=cpu))
    row = find(ledger(here), "RLSP 7-128 is over 70")
    assert row["retrained"].startswith(f"60.0x (as built; {cpu}, LR 480x270, eager, fp32")
    assert row["verdict"] == "differs by -10.0x; measured on a CPU, not a GPU as in the paper"
    assert find(ledger(here), "RLSP 7-128 is about 10")["verdict"] == "not measured yet"
    pair = {"rlsp-7-128": 3.0, "duf-52l": 240.0}
    other = write_made(tmp_path / "b", released(study="b"), made_runtime(pair, device="one GPU"))
    row = find(ledger(here, [other]), "RLSP 7-128 is over 70")
    assert "60.0x" in row["retrained"] and "80.0x" in row["retrained"]
    assert row["verdict"] == "reproduced"


@pytest.mark.slow
def test_a_speedup_is_that_of_the_headline_with_its_range_over_the_ways(tmp_path):
    ways = {("eager", "fp32"): (3.0, 240.0), ("compile", "bf16"): (1.0, 60.0), ("graph", "bf16"): (1.0, 95.0)}
    rows = [
        made_runtime({"rlsp-7-128": fast, "duf-52l": slow}).assign(mode=mode, precision=precision)
        for (mode, precision), (fast, slow) in ways.items()
    ]
    small = made_runtime({"rlsp-7-128": 1.0, "duf-52l": 5.0}, lr_size=(90, 160))  # another frame size
    fused = made_runtime({"rlsp-7-128": 0.5}).assign(mode="fused")  # a way of one model only
    folder = write_made(tmp_path / "tables", released(), pd.concat([small, *rows, fused]))
    row = find(ledger(folder), "RLSP 7-128 is over 70")
    setting = "80.0x (as built; one GPU, LR 480x270, eager, fp32"
    assert row["retrained"] == f"{setting}; 60.0x to 95.0x over 3 ways)"
    assert row["verdict"] == "reproduced"
    row = find(ledger(folder), "Time of RLSP 7-128")
    assert "3.00 ms (as built" in row["retrained"] and "0.50 to 3.00 ms over 4 ways" in row["retrained"]


@pytest.mark.slow
def test_a_model_that_failed_is_not_measured(tmp_path):
    folder = write_made(tmp_path / "tables", released(), made_runtime({"rlsp-7-128": 3.0}))
    cases = made_cases(made_runtime({"duf-52l": 1.0}), status="out of memory")
    cases.to_csv(folder / "runtime_cases.csv", index=False)
    assert find(ledger(folder), "RLSP 7-128 is over 70")["verdict"] == "not measured yet"


def test_a_full_hd_time_is_of_full_hd_frames(tmp_path):
    runtime = made_runtime({"rlsp-7-128": 3.0}, lr_size=(90, 160))
    folder = write_made(tmp_path / "tables", released(), runtime)
    assert find(ledger(folder), "Time of RLSP 7-128")["verdict"] == "not measured yet"


def test_a_cold_start_rises_and_a_flat_or_falling_one_differs(tmp_path, made):
    row = find(made[1], "PSNR of RLSP 7-256 rises")
    assert row["released_frames"] == "t=0 -1.80, t=1 -0.90, t=2 +0.00, t=3 +0.00, t=6 +0.00"
    assert row["verdict"] == "reproduced"
    assert row["published"] == "lower in the first frames, then rising"
    # 7-128 and DUF-52L have other drops than their released frames
    assert find(made[1], "PSNR of RLSP 7-128 rises")["verdict"] == (
        "reproduced; differs by +0.57 dB from the calibration"
    )
    assert find(made[1], "PSNR of DUF-52L rises")["verdict"].startswith(
        "published value unknown; differs by -1.3"
    )
    warm = made_rows("rlsp-7-256", 27.55)
    warm["psnr_y"] = 27.55 - 0.05 * warm["frame"]
    folder = write_made(tmp_path / "tables", [warm])
    assert (
        find(ledger(folder), "PSNR of RLSP 7-256 rises")["verdict"]
        == "differs by -0.05 dB from frame to frame"
    )


def test_drops_of_the_calibration_are_reproduced(tmp_path):
    rows = made_rows("duf-52l", 27.35)
    drops = dict.fromkeys(COLD_START_FRAMES, 0.0) | {0: -0.50, 1: -0.11}
    rows["psnr_y"] = 27.35 + rows["frame"].map(drops).fillna(0.0)
    table = ledger(write_made(tmp_path / "tables", [rows]))
    assert (
        find(table, "PSNR of DUF-52L rises")["verdict"] == "published value unknown; calibration reproduced"
    )


def write_ablation(folder, psnr, label=VIDEO, recipe="paper"):
    switches = {"adjacent": [False, True, True, True], "feedback": [False, False, True, True]}
    table = pd.DataFrame(switches | {"state": [False, False, False, True], "psnr": psnr, "row": [1, 2, 3, 4]})
    table = table.assign(
        degradation="gaussian", dataset="vid4", protocol_label=label, recipe=recipe, n_seeds=3
    )
    table.to_csv(folder / "ablation.csv", index=False)


@pytest.mark.slow
def test_the_order_of_an_ablation(tmp_path):
    folder = write_made(tmp_path / "released" / "tables", released())
    other = write_made(tmp_path / "paper" / "tables", [made_rows("rlsp-7-64", 26.0, origin="trained")])
    write_ablation(other, [24.0, 25.0, 25.5, 26.0])
    row = find(ledger(folder, [other]), "Adjacent frames, feedback and hidden state", VIDEO)
    assert row["retrained"] == "24.00 / 25.00 / 25.50 / 26.00 (paper, recipe paper, 3 seeds)"
    assert row["verdict"] == "reproduced"
    write_ablation(other, [24.0, 25.0, 24.9, 26.0])
    row = find(ledger(folder, [other]), "Adjacent frames")
    assert row["verdict"] == "differs by -0.10 dB from row to row"
    write_ablation(other, [24.0, 25.0, 25.5, 26.0], label="PSNR-Y, crop 0, trim 0+0, frame")
    assert find(ledger(folder, [other]), "Adjacent frames")["verdict"] == "not measured yet"


@pytest.mark.slow
def test_the_order_by_tof_is_that_of_the_calibration(tmp_path, made):
    row = find(made[1], "Order in temporal")
    assert row["released_frames"].startswith("RLSP 7-256 0.17")
    assert row["verdict"] == "published value unknown; order differs from the calibration"
    order = {"duf-52l": 0.159, "rlsp-7-256": 0.167, "rlsp-7-128": 0.170, "duf-16l": 0.181, "rlsp-7-64": 0.189}
    rows = [made_rows(model, LEVELS[model]).assign(tof=tof) for model, tof in order.items()]
    row = find(ledger(write_made(tmp_path / "tables", rows)), "Order in temporal")
    assert row["verdict"] == "published value unknown; calibration reproduced"
    weights = [rows[1].assign(origin="released-weights"), rows[4].assign(origin="released-weights")]
    row = find(ledger(write_made(tmp_path / "weights", weights)), "Order in temporal")
    assert row["released_weights"] == "RLSP 7-256 0.167 < RLSP 7-64 0.189"
    assert row["verdict"] == "published value unknown"


@pytest.mark.slow
def test_other_studies_fill_the_retrained_column_with_their_trained_runs_only(tmp_path):
    folder = write_made(tmp_path / "released" / "tables", released())
    trained = [
        made_rows(model, level + 0.02 * seed, origin="trained", study="paper", recipe="paper", seed=seed)
        for model, level in (("rlsp-7-48", 26.60), ("rlsp-7-128", 27.0), ("rlsp-7-256", 27.1))
        for seed in (0, 1)
    ]
    other = write_made(tmp_path / "paper" / "tables", [*trained, *released({"duf-16l": 20.0}, study="paper")])
    table = ledger(folder, [other])
    row = find(table, "PSNR of RLSP 7-48", VIDEO)
    assert row["retrained"] == "26.61 ± 0.01 (paper, recipe paper, 2 seeds)"
    assert row["released_frames"] == "–"
    assert row["verdict"] == "published value unknown"
    row = find(table, "PSNR of RLSP 7-128 on", VIDEO)
    assert (row["released_frames"], row["verdict"]) == ("27.46", "reproduced")
    assert row["retrained"].startswith("27.01 ± 0.01 (paper")
    assert find(table, "PSNR of DUF-16L", VIDEO)["released_frames"] == "26.83"
    row = find(table, "RLSP 7-256 beats RLSP 7-128", VIDEO)
    assert (row["released_frames"], row["retrained"]) == ("+0.09", "+0.10 (paper, recipe paper, 2 seeds)")


def test_markdown_and_latex_hold_every_row(made):
    folder, table = made
    text = (folder / "claims.md").read_text(encoding="utf-8")
    lines = [line for line in text.split("\n") if line.startswith("| ")]
    sources = [line for line in lines if line.startswith("| [")]
    assert len(sources) == table["source"].nunique()
    assert len(lines) == len(table) + len(sources) + 2 * 5
    assert {line.replace("\\|", "").count("|") for line in lines} == {3, len(table.columns) + 1}
    assert f"Closest to the published PSNR of all methods together: {VIDEO}" in text
    assert "Study released." in text
    assert (folder / "claims.tex").read_text(encoding="utf-8").count(r"\begin{table}") == 5


def test_a_missing_table_is_named(tmp_path, made):
    with pytest.raises(DataError, match=r"nowhere/scores.csv: expected a table"):
        write_claims(tmp_path / "nowhere", STUDY)
    folder = tmp_path / "tables"
    folder.mkdir()
    shutil.copy(made[0] / "scores.csv", folder)
    write_claims(folder, {"study": "released"})  # nothing timed, nothing ablated
    assert (folder / "claims.csv").exists()
