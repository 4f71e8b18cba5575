"""The ledger of claims: what was published, what is measured here, and whether the two agree.

What was published is in `rlsp.reporting.published`, what was measured in `rlsp.reporting.evidence`, and when two
values agree in `rlsp.reporting.verdicts`; here are the claims themselves.

Every claim about accuracy has a row for each of `LEDGER_PROTOCOLS`, since the literature seldom says which
one it used; the row whose value is closest to the published one says so. Only whole clips are compared.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from rlsp.columns import COUNTS, read_table
from rlsp.errors import DataError
from rlsp.files import spec_hash, write_rows, write_text
from rlsp.reporting.evidence import (
    CROP,
    DEGRADATIONS,
    LEDGER_PROTOCOLS,
    Evidence,
    Measured,
    find_margins,
    find_values,
    gap_of,
    read_evidence,
)
from rlsp.reporting.printing import (
    Section,
    count_text,
    markdown_text,
    plural,
    signed_text,
    tex_text,
    time_text,
)
from rlsp.reporting.protocols import protocol_label, ssim_label
from rlsp.reporting.published import (
    SPEEDUP_MODEL,
    SPEEDUPS,
    Printed,
    find_printed,
    read_published,
    speedup_text,
)
from rlsp.reporting.tables import read_timing
from rlsp.reporting.timing import FULL_HD_LR, SETTING_COLUMNS, WAY_COLUMNS, headline_timing, is_processor
from rlsp.reporting.verdicts import (
    CALIBRATED,
    COUNT_RULE,
    DIFFERS,
    GMAC_RULE,
    MARGIN_RULE,
    NOT_COMPARABLE,
    NOT_MEASURED,
    PSNR_RULE,
    REPRODUCED,
    SSIM_RULE,
    UNKNOWN,
    decide,
    decide_cold_start,
    decide_speedup,
    device_verdict,
    largest_difference,
    ledger_row,
    rows_over_protocols,
)
from rlsp.reporting.wide import SWITCHES, TOF_LABEL

CLAIM_COLUMNS = (
    *("claim", "published", "source"),
    *("released_frames", "released_weights", "retrained"),
    *("protocol", "verdict"),
)
ACCURACY_MODELS = tuple(model for model in DEGRADATIONS if model != "frvsr-10-128")
SIZE_MODELS = tuple(model for model in DEGRADATIONS if model != "bicubic")
MARGINS = (("rlsp-7-128", "duf-52l"), ("rlsp-7-128", "frvsr-10-128"), ("rlsp-7-256", "rlsp-7-128"))
DECISIVE_CLIP = "city"  # 34 frames that alone put 7-128 above DUF-52L
COLD_START_MODELS = ("rlsp-7-48", "rlsp-7-64", "rlsp-7-128", "rlsp-7-256", "duf-52l")
COLD_START_FRAMES = (0, 1, 2, 3, 6)
# adjacent, feedback, state: the rows of the paper's section 5.1
ABLATION_SWITCHES = [[False, False, False], [True, False, False], [True, True, False], [True, True, True]]
STEADY_FRAMES = (15, 29)  # first and last of the frames that count as steady; every clip has them

LEGEND = (
    "Sources: Q, quoted from the source itself; S, from a secondary source; M, the calibration of this "
    "pipeline, measured once from the authors' released files and never a published value."
)


def write_claims(
    tables_dir: Path | str,
    study: dict[str, Any],
    other_tables: Iterable[Path | str] = (),
    *,
    published: pd.DataFrame | None = None,
) -> None:
    """Write the ledger of claims as ``claims.csv``, ``claims.md`` and ``claims.tex``.

    Parameters
    ----------
    tables_dir : path
        Folder with ``scores.csv``, and where there are any ``counts.csv``, ``runtime.csv`` and ``ablation.csv``.
    study : dict
        The facts of the study (see `rlsp.reporting.tables`).
    other_tables : iterable of paths
        Such folders of other studies, for what was trained, timed and ablated there.
    published : DataFrame, optional
        What `read_published` returns, by default of the package's own file.

    Raises
    ------
    DataError
        When a table is missing or incomplete, or frames of a clip are missing or doubled.
    """
    tables_dir = Path(tables_dir)
    published = read_published() if published is None else published
    evidence = read_evidence(tables_dir, [Path(folder) for folder in other_tables])
    groups = {
        f"Accuracy on Vid4. {closest_protocol(evidence, published)} {LEGEND}": accuracy_rows(
            evidence, published
        ),
        "Who is better, and by how much. The inputs of DUF were blurred with sigma 1.6, those of RLSP with "
        "1.5; leave_one_clip_out has the means without each clip.": margin_rows(evidence, published),
        "Size and speed. 'As built': counted or timed here, whatever the weights.": [
            *size_rows(evidence, read_counts(tables_dir, study), published),
            *speed_rows(evidence, published),
        ],
        "Behaviour over time and ablation.": [
            *cold_start_rows(evidence, published),
            *ablation_rows(evidence, published),
            temporal_row(evidence, published),
        ],
    }
    rows = [row for of_group in groups.values() for row in of_group]
    write_rows(tables_dir / "claims.csv", CLAIM_COLUMNS, rows)
    heads = [("", name.replace("_", " ")) for name in CLAIM_COLUMNS]
    sources = {text: f"[{n}]" for n, text in enumerate(dict.fromkeys(row["source"] for row in rows), 1)}
    sections = [
        Section(f"{caption} Study {study['study']}.", heads, [numbered(row, sources) for row in of_group])
        for caption, of_group in groups.items()
    ]
    explained = [[number, text] for text, number in sources.items()]
    sections.append(Section("Sources of the published values.", [("", "number"), ("", "source")], explained))
    write_text(tables_dir / "claims.md", markdown_text(sections))
    write_text(tables_dir / "claims.tex", tex_text(sections, "claims"))


def numbered(row: dict[str, str], sources: dict[str, str]) -> list[str]:
    """Return a row for people, its source replaced by a number that is explained below the tables."""
    return list({**row, "source": sources[row["source"]]}.values())


# ---- claims ------------------------------------------------------------------------------------


def name_of(model: str) -> str:
    """Return a model's name as the literature writes it."""
    family, _, rest = model.partition("-")
    if family == "duf":
        return f"DUF-{rest.upper()}"
    return f"{family.upper()} {rest}" if rest else "phase-aligned bicubic"


def accuracy_rows(evidence: Evidence, published: pd.DataFrame) -> list[dict[str, str]]:
    """Return PSNR of every model under each protocol, and SSIM where one is in print."""
    rows = []
    for model in ACCURACY_MODELS:
        for measure, rule in (("psnr", PSNR_RULE), ("ssim", SSIM_RULE)):
            printed = find_printed(published, model, measure)
            if measure == "ssim" and printed is None:
                continue
            measured, calibrations = {}, {}
            for protocol in LEDGER_PROTOCOLS:
                label = protocol_label(protocol) if measure == "psnr" else ssim_label(protocol)
                measured[label] = find_values(evidence, model, protocol_label(protocol), measure)
                calibrations[label] = find_printed(published, model, f"{measure}_calibration", label)
            claim = f"{measure.upper()} of {name_of(model)} on Vid4, {DEGRADATIONS[model]}"
            gap = gap_of(evidence, model)
            rows += rows_over_protocols(claim, measured, printed, calibrations, rule, gap)
    return rows


def closest_protocol(evidence: Evidence, published: pd.DataFrame) -> str:
    """Say which protocol agrees best with all published PSNR values together."""
    printed = {model: find_printed(published, model, "psnr") for model in ACCURACY_MODELS}
    known = {model: value for model, value in printed.items() if value and model != "bicubic"}
    worst = {}
    for label in map(protocol_label, LEDGER_PROTOCOLS):
        values = {model: find_values(evidence, model, label) for model in known}
        differences = [abs(largest_difference(of, known[model])) for model, of in values.items() if of]
        if differences:
            worst[label] = max(differences)
    if not worst:
        return "No model was measured on whole clips."
    label = min(worst, key=worst.__getitem__)
    return (
        f"Closest to the published PSNR of all methods together: {label}, at most {worst[label]:.2f} dB off; "
        "the values were printed without their protocol."
    )


def margin_rows(evidence: Evidence, published: pd.DataFrame) -> list[dict[str, str]]:
    """Return who is better by how much, and the margin over DUF-52L without the clip that decides it."""
    rows = []
    for better, worse in MARGINS:
        values = [find_printed(published, model, "psnr") for model in (better, worse)]
        printed = values[0].minus(values[1]) if all(values) else None
        claim = f"{name_of(better)} beats {name_of(worse)} on Vid4 (PSNR difference, dB)"
        rows += margin_over_protocols(
            evidence, published, (better, worse), claim, printed, "psnr_calibration"
        )
    better, worse = MARGINS[0]
    claim = f"{name_of(better)} beats {name_of(worse)} on Vid4 without {DECISIVE_CLIP} (PSNR difference, dB)"
    metric = f"psnr_without_{DECISIVE_CLIP}_calibration"
    pair = (better, worse)
    return rows + margin_over_protocols(evidence, published, pair, claim, None, metric, DECISIVE_CLIP)


def margin_over_protocols(
    evidence: Evidence,
    published: pd.DataFrame,
    pair: tuple[str, str],
    claim: str,
    printed: Printed | None,
    calibration_metric: str,
    without: str | None = None,
) -> list[dict[str, str]]:
    """Return the rows of one margin, one per protocol."""
    measured, calibrations = {}, {}
    for label in map(protocol_label, LEDGER_PROTOCOLS):
        measured[label] = find_margins(evidence, *pair, label, without)
        expected = [find_printed(published, model, calibration_metric, label) for model in pair]
        calibrations[label] = expected[0].minus(expected[1]) if all(expected) else None
    return rows_over_protocols(claim, measured, printed, calibrations, MARGIN_RULE, gap_of(evidence, *pair))


def read_counts(tables_dir: Path, study: dict[str, Any]) -> pd.DataFrame:
    """Read what was counted of the study's models, by model; nothing in a folder of an earlier version.

    Raises
    ------
    DataError
        A model has changed since it was counted.
    """
    path = tables_dir / "counts.csv"
    counts = read_table(path, COUNTS) if path.exists() else COUNTS.empty()
    for row in counts.itertuples():
        if row.spec_hash != spec_hash(study.get("models", {}).get(row.model)):
            raise DataError(f"{path}: model {row.model} has changed since it was counted")
    return counts.set_index("model")


def size_rows(evidence: Evidence, counts: pd.DataFrame, published: pd.DataFrame) -> list[dict[str, str]]:
    """Return the parameters of every model and the operations of a Full HD frame."""
    rows = []
    weighted = evidence.frames[evidence.frames["column"] == "released_weights"]["model"].unique()
    kinds = (
        ("parameters", "Parameters of {}", "parameters", count_text, COUNT_RULE, "all trainable"),
        (
            *("gmac", "GMAC of {} per Full HD frame", "gmac_per_frame", "{:.1f}".format, GMAC_RULE),
            "output 1920x1080, biases not counted",
        ),
    )
    for metric, claim, column, text, rule, protocol in kinds:
        for model in SIZE_MODELS:
            measured = []
            if model in counts.index:
                value = float(counts.loc[model, column])
                measured = [Measured("retrained", value, f"{text(value)} (as built)")]
                if model in weighted:
                    measured.append(Measured("released_weights", value, text(value)))
            printed = find_printed(published, model, metric)
            calibration = find_printed(published, model, f"{metric}_calibration")
            verdict = decide(measured, printed, calibration, rule)
            row = ledger_row(claim.format(name_of(model)), measured, printed, calibration, protocol, verdict)
            rows.append(row)
    return rows


def speed_rows(evidence: Evidence, published: pd.DataFrame) -> list[dict[str, str]]:
    """Return the speed-up factors of 7-128, and its time for a Full HD frame."""
    model, rows = SPEEDUP_MODEL, []
    for other, speedup in SPEEDUPS.items():
        found = find_times(evidence, (model, other))
        measured = {
            entry: Measured("retrained", entry.factor, f"{entry.factor:.1f}x (as built; {entry.text})")
            for entry in found
        }
        # A factor of the paper is one of GPUs: where some device is one, the verdict is about those alone.
        judged = [entry for entry in found if not is_processor(entry.device)] or found
        printed = find_printed(published, model, speedup.metric)
        claim = f"{name_of(model)} is {speedup_text(printed, speedup)} times as fast as {name_of(other)}"
        verdict = decide_speedup([measured[entry] for entry in judged], printed, is_bound=speedup.is_bound)
        verdict = device_verdict(verdict, is_cpu=bool(judged) and is_processor(judged[0].device))
        protocol = "one device, one frame size"
        rows.append(ledger_row(claim, list(measured.values()), printed, None, protocol, verdict))
    measured = [
        Measured("retrained", entry.times[0], f"{time_text(entry.times[0])} ms (as built; {entry.text})")
        for entry in find_times(evidence, (model,), FULL_HD_LR)
    ]
    printed = find_printed(published, model, "runtime")
    verdict = NOT_COMPARABLE if measured else NOT_MEASURED
    claim = f"Time of {name_of(model)} per Full HD frame"
    return [*rows, ledger_row(claim, measured, printed, None, "output 1920x1080, batch 1", verdict)]


@dataclasses.dataclass(frozen=True)
class SideBySide:
    """Median times (ms) of models on one device in one way, and in words how they were timed."""

    device: str
    times: tuple[float, ...]
    text: str

    @property
    def factor(self) -> float:
        """Time of the second model over that of the first."""
        return self.times[1] / self.times[0]


def find_times(
    evidence: Evidence, models: tuple[str, ...], lr_size: tuple[int, int] | None = None
) -> list[SideBySide]:
    """Return the times of models that were timed side by side, in the headline's way, one entry per device."""
    entries = []
    for folder in evidence.tables:
        if not (folder / "runtime.csv").exists():
            continue
        timing = read_timing(folder)
        timing = timing[timing["model"].isin(models) & timing["median_ms"].notna()]
        if lr_size is not None:
            timing = timing[(timing["lr_height"] == lr_size[0]) & (timing["lr_width"] == lr_size[1])]
        if timing.empty:
            continue
        way = [*SETTING_COLUMNS, *WAY_COLUMNS]
        timing = timing[timing.groupby(way, dropna=False)["model"].transform("nunique") == len(models)]
        for device, of_device in timing.groupby("device", sort=False):
            chosen = headline_timing(of_device).drop_duplicates("model").set_index("model")
            row = chosen.iloc[0]
            text = f"{device}, LR {row['lr_width']}x{row['lr_height']}, {row['mode']}, {row['precision']}"
            text += ways_text(of_device, models, row)
            times = tuple(float(chosen.loc[model, "median_ms"]) for model in models)
            entries.append(SideBySide(str(device), times, text))
    return entries


def ways_text(timing: pd.DataFrame, models: tuple[str, ...], headline: pd.Series) -> str:
    """Return the range of a factor, or of one model's time, over all ways it was timed in the headline's setting."""
    for column in SETTING_COLUMNS:
        timing = timing[timing[column] == headline[column]]
    times = timing.pivot_table(index=list(WAY_COLUMNS), columns="model", values="median_ms", sort=False)
    if len(times) < 2:
        return ""
    if len(models) == 1:
        low, high = (time_text(value) for value in (times[models[0]].min(), times[models[0]].max()))
        return f"; {low} to {high} ms over {len(times)} ways"
    factors = times[models[1]] / times[models[0]]
    return f"; {factors.min():.1f}x to {factors.max():.1f}x over {len(times)} ways"


def cold_start_label(frame: int) -> str:
    """Return what the drop of a frame after a cold start is, in words."""
    first, last = STEADY_FRAMES
    return f"PSNR-Y of frame {frame} minus the mean of frames {first}..{last}, crop {CROP}"


def cold_start_rows(evidence: Evidence, published: pd.DataFrame) -> list[dict[str, str]]:
    """Return how far the first frames of each model lie below its steady state, mean over clips."""
    rows = []
    first, last = STEADY_FRAMES
    protocol = cold_start_label(0).replace("frame 0", "single frames") + ", mean over clips"
    for model in COLD_START_MODELS:
        is_claimed = model.startswith("rlsp")  # DUF, which has no recurrence, is there to compare
        printed = find_printed(published, "rlsp-7-128", "cold_start") if is_claimed else None
        expected = {
            frame: find_printed(published, model, "cold_start_calibration", cold_start_label(frame))
            for frame in COLD_START_FRAMES
        }
        expected = {frame: value for frame, value in expected.items() if value}
        calibration = next(iter(expected.values()), None)
        if calibration is not None:
            text = drops_text({frame: value.value for frame, value in expected.items()})
            calibration = dataclasses.replace(calibration, text=text)
        drops = cold_start_drops(evidence.frames[evidence.frames["model"] == model])
        verdict = decide_cold_start(drops, expected, is_claimed=is_claimed, gap=gap_of(evidence, model))
        claim = f"PSNR of {name_of(model)} rises from a cold start (dB below frames {first}..{last})"
        measured = [value for value, _ in drops]
        rows.append(ledger_row(claim, measured, printed, calibration, protocol, verdict))
    return rows


def cold_start_drops(frames: pd.DataFrame) -> list[tuple[Measured, dict[int, float]]]:
    """Return, for each run of a model, its cell of the ledger and the drop (dB) by frame."""
    drops = []
    for run, rows in frames.groupby("run", sort=False):
        table = rows.pivot(index="frame", columns="clip", values="psnr_y")
        steady = table.loc[slice(*STEADY_FRAMES)].mean()
        by_frame = {frame: float((table.loc[frame] - steady).mean()) for frame in COLD_START_FRAMES}
        is_exact = rows["origin"].iloc[0] != "trained"
        text = drops_text(by_frame) + ("" if is_exact else f" ({run})")
        drops.append((Measured(rows["column"].iloc[0], by_frame[0], text, is_exact=is_exact), by_frame))
    return drops


def drops_text(drops: dict[int, float]) -> str:
    """Return drops as ``t=0 -1.83, t=1 -0.98``."""
    return ", ".join(f"t={frame} {signed_text(drop)}" for frame, drop in drops.items())


def ablation_rows(evidence: Evidence, published: pd.DataFrame) -> list[dict[str, str]]:
    """Return whether each ingredient of RLSP adds to its PSNR, per degradation, data set and protocol."""
    printed = find_printed(published, "rlsp-7-128", "ablation_order")
    claim = "Adjacent frames, feedback and hidden state each raise PSNR"
    found = find_ablations(evidence.tables)
    if not found:
        return [ledger_row(claim, [], printed, None, f"PSNR-Y, crop {CROP}", NOT_MEASURED)]
    rows = []
    for (degradation, dataset, label), entries in found.items():
        step = min(step for _, step in entries)
        verdict = REPRODUCED if step > 0 else f"{DIFFERS} {step:+.2f} dB from row to row"
        measured = [value for value, _ in entries]
        where = f"{claim} ({dataset}, {degradation})"
        rows.append(ledger_row(where, measured, printed, None, label, verdict))
    return rows


def find_ablations(tables: list[Path]) -> dict[tuple[str, ...], list[tuple[Measured, float]]]:
    """Return the ablations of the paper's four rows by (degradation, data set, protocol in words).

    Each is a cell of the ledger, the PSNR of the rows in order, with the smallest step (dB) between two.
    """
    labels = [protocol_label(protocol) for protocol in LEDGER_PROTOCOLS]
    keys = ["degradation", "dataset", "protocol_label", "recipe"]
    found: dict[tuple[str, ...], list[tuple[Measured, float]]] = {}
    for path in (folder / "ablation.csv" for folder in tables if (folder / "ablation.csv").exists()):
        table = read_table(path, [*keys, "row", "psnr", "n_seeds", *SWITCHES])
        for key, rows in table[table["protocol_label"].isin(labels)].groupby(keys, sort=False):
            rows = rows.sort_values("row")
            if rows[list(SWITCHES)].astype(bool).to_numpy().tolist() != ABLATION_SWITCHES:
                continue
            study, seeds = path.parent.parent.name, plural(int(rows["n_seeds"].min()), "seed")
            text = " / ".join(f"{value:.2f}" for value in rows["psnr"])
            text += f" ({study}, recipe {key[3]}, {seeds})"
            value = Measured("retrained", rows["psnr"].iloc[-1], text, is_exact=False)
            found.setdefault(key[:3], []).append((value, float(rows["psnr"].diff().min())))
    return found


def temporal_row(evidence: Evidence, published: pd.DataFrame) -> dict[str, str]:
    """Return the order of the methods by tOF, most consistent first."""
    rows = evidence.clips[evidence.clips["label"] == protocol_label(LEDGER_PROTOCOLS[0])]
    measured, order = [], []
    for column, of_column in rows.groupby("column", sort=False):
        runs = of_column.groupby(["model", "run"], sort=False)["tof"].mean(skipna=False)
        tof = runs.groupby(level="model").mean().dropna().sort_values()
        if len(tof) > 1:
            text = " < ".join(f"{name_of(model)} {value:.3f}" for model, value in tof.items())
            measured.append(Measured(column, float("nan"), text))
            order = list(tof.index) if column == "released_frames" else order
    calibrated = published[published["metric"] == "tof_calibration"]
    calibrated = calibrated.assign(value=calibrated["value"].astype(float)).sort_values("value")
    expected = [model for model in calibrated["model"] if model in order]
    calibration = None
    if not calibrated.empty:
        text = " < ".join(f"{name_of(row.model)} {row.value:.4f}" for row in calibrated.itertuples())
        calibration = find_printed(published, calibrated["model"].iloc[0], "tof_calibration")
        calibration = dataclasses.replace(calibration, text=text)
    gap = gap_of(evidence, *evidence.gaps)
    verdict = UNKNOWN if measured else decide([], None, None, MARGIN_RULE, gap)
    if len(expected) > 1:
        same = [model for model in order if model in expected] == expected
        verdict = f"{UNKNOWN}; {CALIBRATED if same else 'order differs from the calibration'}"
    claim = "Order in temporal consistency on Vid4 (tOF, pixels; lower is better)"
    return ledger_row(claim, measured, None, calibration, TOF_LABEL, verdict)
