"""The ledger of claims: what was published, what is measured here, and whether the two agree.

Published values come from ``published.csv``, each with its source and how sure it is: ``Q`` quoted from the
source itself, ``S`` from a secondary source, ``M`` measured once from the authors' released files. The last
are no published values but the calibration of this pipeline; their metrics end in ``_calibration``. Where a
model has several published values of a metric, the first row counts.

Every claim about accuracy has a row for each of `LEDGER_PROTOCOLS`, since the literature seldom says which
one it used; the row whose value is closest to the published one says so. Only whole clips are compared.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rlsp.errors import DataError
from rlsp.reporting.printing import (
    EMPTY,
    Section,
    count_text,
    markdown_text,
    number_text,
    plural,
    tex_text,
    time_text,
)
from rlsp.reporting.protocols import SCORE_COLUMNS, apply_protocol, protocol_label, ssim_label
from rlsp.reporting.tables import (
    RUNTIME_COLUMNS,
    SETTING_COLUMNS,
    SWITCHES,
    TOF_LABEL,
    headline_timing,
    read_table,
    summarise_runtime,
    write_csv,
    write_text,
)

PUBLISHED = Path(__file__).with_name("published.csv")
PUBLISHED_COLUMNS = (
    *("model", "dataset", "degradation", "metric", "value", "unit"),
    *("protocol", "source", "confidence", "note"),
)
CLAIM_COLUMNS = (
    *("claim", "published", "source"),
    *("released_frames", "released_weights", "retrained"),
    *("protocol", "verdict"),
)
COLUMN_OF_ORIGIN = {
    "released-frames": "released_frames",
    "released-weights": "released_weights",
    "trained": "retrained",
    "interpolation": "retrained",
}

DATASET = "vid4"
VID4_FRAMES = {"calendar": 41, "city": 34, "foliage": 49, "walk": 47}
CROP = 8
LEDGER_PROTOCOLS = [
    {"channel": "y", "crop": CROP, "trim": trim, "average": average}
    for trim in ([2, 2], [0, 0])
    for average in ("video", "frame")
]
# What each model's input was blurred with: sigma 1.5 by the authors of RLSP, 1.6 by those of DUF.
DEGRADATIONS = {
    "rlsp-7-48": "gaussian",
    "rlsp-7-64": "gaussian",
    "rlsp-7-128": "gaussian",
    "rlsp-7-256": "gaussian",
    "duf-16l": "gaussian-1.6",
    "duf-52l": "gaussian-1.6",
    "bicubic": "gaussian",
    "frvsr-10-128": "gaussian",
}
ACCURACY_MODELS = tuple(model for model in DEGRADATIONS if model != "frvsr-10-128")
SIZE_MODELS = tuple(model for model in DEGRADATIONS if model != "bicubic")
MARGINS = (("rlsp-7-128", "duf-52l"), ("rlsp-7-128", "frvsr-10-128"), ("rlsp-7-256", "rlsp-7-128"))
DECISIVE_CLIP = "city"  # 34 frames that alone put 7-128 above DUF-52L
FULL_HD_LR = (270, 480)  # LR rows and columns of a frame of 1920x1080, scale 4
COLD_START_MODELS = ("rlsp-7-48", "rlsp-7-64", "rlsp-7-128", "rlsp-7-256", "duf-52l")
COLD_START_FRAMES = (0, 1, 2, 3, 6)
# adjacent, feedback, state: the rows of the paper's section 5.1
ABLATION_SWITCHES = [[False, False, False], [True, False, False], [True, True, False], [True, True, True]]
STEADY_FRAMES = (15, 29)  # first and last of the frames that count as steady; every clip has them

# Tolerances. To each comes half a unit of the last digit that was printed: 27.46 may be 27.455 or 27.465.
PSNR_ALLOWANCE = 0.01  # dB: taking Y from 8-bit RGB instead of 8-bit Y pictures alone moves up to 0.006
SSIM_ALLOWANCE = 0.001  # the printed values of the same frames of DUF-52L span 0.0009
RETRAINED_ALLOWANCE = 0.1  # dB: 7-128 beats 7-256 by 0.35 dB on one clip in four, so seeds move about 0.1
ABOUT = 0.2  # "about 10x", relative
NOISE = 1e-9  # of binary fractions: 27.475 - 27.46 is not more than 0.015

REPRODUCED = "reproduced"
DIFFERS = "differs by"
NOT_MEASURED = "not measured yet"
UNKNOWN = "published value unknown"
CALIBRATED = "calibration reproduced"
NOT_COMPARABLE = "not comparable (published device not stated)"
TURNED = "order turned"
LEGEND = (
    "Sources: Q, quoted from the source itself; S, from a secondary source; M, the calibration of this "
    "pipeline, measured once from the authors' released files and never a published value."
)
CLOSEST = " (closest to the published value)"


@dataclass(frozen=True)
class Printed:
    """A published value: as a number, how much its last digit hides, as printed, and its source."""

    value: float
    half_unit: float
    text: str
    source: str

    def minus(self, other: "Printed") -> "Printed":
        """Return the difference of two published values."""
        value = self.value - other.value
        source = self.source if self.source == other.source else f"{self.source}; {other.source}"
        text = f"{signed_text(value)} ({self.text} - {other.text})"
        return Printed(value, self.half_unit + other.half_unit, text, source)


@dataclass(frozen=True)
class Measured:
    """A value measured here: its column of the ledger, the number, its text, and what it may pair with.

    `is_exact`: it has no seed, so a difference from a published value is one of the pipeline or the protocol.
    """

    column: str
    value: float
    text: str
    batch: tuple[str, ...] = ()
    is_exact: bool = True

    def minus(self, other: "Measured") -> "Measured":
        """Return the difference of two values of one batch."""
        detail = self.text[self.text.index(" (") :] if " (" in self.text else ""
        value = self.value - other.value
        is_exact = self.is_exact and other.is_exact
        return Measured(self.column, value, f"{signed_text(value)}{detail}", self.batch, is_exact)


@dataclass(frozen=True)
class Rule:
    """How one kind of value is judged and printed."""

    allowance: float
    unit: str
    digits: int
    is_order: bool = False  # the claim is also that the value is above zero


PSNR_RULE = Rule(PSNR_ALLOWANCE, "dB", 2)
SSIM_RULE = Rule(SSIM_ALLOWANCE, "", 4)
MARGIN_RULE = Rule(2 * PSNR_ALLOWANCE, "dB", 2, is_order=True)
COUNT_RULE = Rule(0.0, "", 0)
GMAC_RULE = Rule(0.0, "GMAC", 1)


@dataclass(frozen=True)
class Evidence:
    """What was measured on whole clips of Vid4.

    Attributes
    ----------
    frames : DataFrame
        Score rows, with the ``column`` of the ledger they belong to.
    clips : DataFrame
        Means per run, clip and protocol, with ``column`` and ``label``, the protocol in words.
    gaps : dict
        Why a model was not measured on whole clips, in words.
    tables : list of Path
        Folders of this study and of the others.
    """

    frames: pd.DataFrame
    clips: pd.DataFrame
    gaps: dict[str, str]
    tables: list[Path]


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
        Folder with ``scores.csv``, and where there are any ``runtime.csv`` and ``ablation.csv``.
    study : dict
        The facts of the study (see `rlsp.reporting.tables`); parameters and operations are counted for its
        ``models``.
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
            *size_rows(evidence, study, published),
            *speed_rows(evidence, published),
        ],
        "Behaviour over time and ablation.": [
            *cold_start_rows(evidence, published),
            *ablation_rows(evidence, published),
            temporal_row(evidence, published),
        ],
    }
    rows = [row for of_group in groups.values() for row in of_group]
    write_csv(pd.DataFrame(rows, columns=list(CLAIM_COLUMNS)), tables_dir / "claims.csv")
    heads = [("", name.replace("_", " ")) for name in CLAIM_COLUMNS]
    sections = [
        Section(f"{caption} Study {study['study']}.", heads, [list(row.values()) for row in of_group])
        for caption, of_group in groups.items()
    ]
    write_text(markdown_text(sections), tables_dir / "claims.md")
    write_text(tex_text(sections, "claims"), tables_dir / "claims.tex")


# ---- published values --------------------------------------------------------------------------


def read_published(path: Path | str = PUBLISHED) -> pd.DataFrame:
    """Read the published values, as text: the digits of a number tell how exact it is.

    Raises
    ------
    DataError
        When the file is missing or lacks a column, or a row has no source or no confidence of M, Q or S.
    """
    table = read_table(path, PUBLISHED_COLUMNS)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    wrong = table[~table["confidence"].isin(["M", "Q", "S"]) | (table["source"] == "")]
    if not wrong.empty:
        row = wrong.iloc[0]
        raise DataError(
            f"{path}: {row['model']}, {row['metric']}: expected a source and a confidence of M, Q or S, "
            f"got {row['source']!r} and {row['confidence']!r}"
        )
    return table


def published_points(dataset: str = DATASET, degradation: str = "gaussian") -> pd.DataFrame:
    """Return the models with both a PSNR and a Full HD run time in print.

    Times of different devices say nothing about each other: draw the points apart, never as a line.

    Returns
    -------
    DataFrame
        ``model, dataset, degradation, psnr`` (dB), ``runtime_ms`` (per frame of 1920x1080), and ``note``,
        which names the GPU.
    """
    table = read_published()
    table = table[table["confidence"] != "M"]
    accuracy = table[(table["metric"] == "psnr") & (table["dataset"] == dataset)]
    accuracy = accuracy[accuracy["degradation"] == degradation].drop_duplicates("model")
    times = table[(table["metric"] == "runtime") & (table["protocol"] == "output 1920x1080")]
    times = times.drop_duplicates("model")[["model", "value", "note"]]
    points = accuracy.drop(columns="note").merge(times, on="model", suffixes=("", "_time"))
    points["note"] = points["note"].str.partition(";")[0]  # the GPU; how it was read follows
    points = points.assign(psnr=points["value"].astype(float), runtime_ms=points["value_time"].astype(float))
    return points[["model", "dataset", "degradation", "psnr", "runtime_ms", "note"]]


def find_printed(
    published: pd.DataFrame, model: str, metric: str, protocol: str | None = None
) -> Printed | None:
    """Return the first published value of a model and metric, None where there is none."""
    rows = published[(published["model"] == model) & (published["metric"] == metric)]
    if protocol is not None:
        rows = rows[rows["protocol"] == protocol]
    if rows.empty:
        return None
    row = rows.iloc[0]
    note = row["note"] if row["confidence"] != "M" else ""
    source = f"{row['confidence']}: {row['source']}" + (f" ({note})" if note else "")
    try:
        value = float(row["value"])
    except ValueError:
        return Printed(float("nan"), 0.0, row["value"], source)
    factor = 1e6 if row["unit"] == "M" else 1.0
    half_unit = 0.5 * 10.0 ** -len(row["value"].partition(".")[2])
    unit = f" {row['unit']}" if row["unit"] and row["unit"] != "dB" else ""
    return Printed(value * factor, half_unit * factor, f"{row['value']}{unit}", source)


# ---- measured values ---------------------------------------------------------------------------


def read_evidence(tables_dir: Path, others: Sequence[Path]) -> Evidence:
    """Read the scores of this study, and what other studies trained, as far as they cover Vid4."""
    frames, clips, gaps = [], [], {}
    for folder in (tables_dir, *others):
        scores = read_table(folder / "scores.csv", SCORE_COLUMNS)
        rows = scores[(scores["dataset"] == DATASET) & (scores["crop"] == CROP)]
        rows = rows[rows["origin"].isin(COLUMN_OF_ORIGIN if folder == tables_dir else ["trained"])]
        rows = rows[rows["degradation"] == rows["model"].map(DEGRADATIONS)]
        for _, of_run in rows.groupby("run", sort=False):
            gap = clip_gap(of_run)
            if gap:
                gaps[of_run["model"].iloc[0]] = gap
                continue
            of_run = of_run.assign(column=of_run["origin"].map(COLUMN_OF_ORIGIN))
            frames.append(of_run)
            for protocol in LEDGER_PROTOCOLS:
                means = apply_protocol(of_run, protocol)
                clips.append(means.assign(column=of_run["column"].iloc[0], label=protocol_label(protocol)))
    empty = pd.DataFrame(columns=[*SCORE_COLUMNS, "column", "label", "psnr", "ssim"])
    return Evidence(
        pd.concat(frames, ignore_index=True) if frames else empty,
        pd.concat(clips, ignore_index=True) if clips else empty,
        gaps,
        [tables_dir, *others],
    )


def clip_gap(rows: pd.DataFrame) -> str:
    """Return what a run lacks of the 171 frames of Vid4, in words; nothing when it has them all."""
    counts = rows.groupby("clip").size().to_dict()
    missing = sorted(VID4_FRAMES.keys() - counts.keys())
    if counts == VID4_FRAMES:
        return ""
    if missing:
        return f"without {', '.join(missing)}"
    if counts.keys() == VID4_FRAMES.keys() and all(counts[clip] <= VID4_FRAMES[clip] for clip in counts):
        return f"first {plural(max(counts.values()), 'frame')} only"
    return "other clips than the four of Vid4"


def find_values(
    evidence: Evidence, model: str, label: str, measure: str = "psnr", without: str | None = None
) -> list[Measured]:
    """Return a model's means over clips under one protocol, one for each origin, study and recipe."""
    clips = evidence.clips
    rows = clips[(clips["model"] == model) & (clips["label"] == label) & (clips["clip"] != without)]
    if rows.empty:
        return []
    keys = ["column", "origin", "study", "recipe", "run"]
    means = rows.groupby(keys, sort=False, dropna=False)[measure].mean(skipna=False).dropna().reset_index()
    digits = 4 if measure == "ssim" else 2
    values = []
    for key, of_batch in means.groupby(keys[:-1], sort=False, dropna=False):
        column, origin, study, recipe = (str(part) for part in key)
        numbers = of_batch[measure]
        text = number_text(numbers.mean(), digits, numbers.std())
        if origin == "trained":
            text += f" ({study}, recipe {recipe}, {plural(len(numbers), 'seed')})"
        elif origin == "interpolation":
            text += " (interpolation)"
        batch = (column, study, recipe)
        values.append(Measured(column, float(numbers.mean()), text, batch, origin != "trained"))
    return values


def find_margins(
    evidence: Evidence, better: str, worse: str, label: str, without: str | None = None
) -> list[Measured]:
    """Return the PSNR of one model minus that of another, both of the same origin, study and recipe."""
    others = {value.batch: value for value in find_values(evidence, worse, label, without=without)}
    values = find_values(evidence, better, label, without=without)
    return [value.minus(others[value.batch]) for value in values if value.batch in others]


def gap_of(evidence: Evidence, *models: str) -> str:
    """Return why models were not measured, in words."""
    return "; ".join(dict.fromkeys(evidence.gaps[model] for model in models if model in evidence.gaps))


# ---- verdicts ----------------------------------------------------------------------------------


def judged(measured: list[Measured]) -> list[Measured]:
    """Return the values that a verdict is about: those without a seed, else the retrained ones."""
    return [value for value in measured if value.is_exact] or measured


def largest_difference(measured: list[Measured], printed: Printed) -> float:
    """Return the largest difference, by size, of the judged values from a published one."""
    return max((value.value - printed.value for value in judged(measured)), key=abs)


def decide(
    measured: list[Measured], printed: Printed | None, calibration: Printed | None, rule: Rule, gap: str = ""
) -> str:
    """Return the verdict on one claim.

    All judged values have to agree with the published one within the tolerance: `Rule.allowance` (for a
    retrained model not below `RETRAINED_ALLOWANCE`) plus half a unit of the last printed digit. The
    calibration is for values without a seed only; it is named where it fails, or where nothing is published.
    """
    if not measured:
        return f"{NOT_MEASURED} ({gap})" if gap else NOT_MEASURED
    is_exact = judged(measured)[0].is_exact
    allowance = rule.allowance if is_exact else max(rule.allowance, RETRAINED_ALLOWANCE)
    parts = [UNKNOWN if printed is None else compare_printed(measured, printed, rule, allowance)]
    if calibration is not None and is_exact:
        calibrated = compare_printed(measured, calibration, rule, allowance)
        if calibrated != REPRODUCED:
            parts.append(f"{calibrated} from the calibration")
        elif printed is None:
            parts.append(CALIBRATED)
    if rule.is_order and min(value.value for value in judged(measured)) <= 0:
        parts = [part for part in parts if part != REPRODUCED] + [TURNED]
    return "; ".join(parts)


def compare_printed(measured: list[Measured], printed: Printed, rule: Rule, allowance: float) -> str:
    """Return ``reproduced``, or by how much the values differ from a published one."""
    difference = largest_difference(measured, printed)
    if abs(difference) <= allowance + printed.half_unit + NOISE:
        return REPRODUCED
    return f"{DIFFERS} {difference:+,.{rule.digits}f}{' ' + rule.unit if rule.unit else ''}"


def ledger_row(
    claim: str,
    measured: list[Measured],
    printed: Printed | None,
    calibration: Printed | None,
    protocol: str,
    verdict: str,
) -> dict[str, str]:
    """Return one row of the ledger, all of it text."""
    sources = [printed.source] if printed else []
    if calibration:
        sources.append(f"calibration {calibration.text} ({calibration.source})")
    cells = {
        column: "; ".join(value.text for value in measured if value.column == column) or EMPTY
        for column in ("released_frames", "released_weights", "retrained")
    }
    text = printed.text if printed else "unknown"
    source = "; ".join(sources) or EMPTY
    row = {"claim": claim, "published": text, "source": source, **cells}
    return row | {"protocol": protocol, "verdict": verdict}


def rows_over_protocols(
    claim: str,
    measured: dict[str, list[Measured]],
    printed: Printed | None,
    calibrations: dict[str, Printed | None],
    rule: Rule,
    gap: str,
) -> list[dict[str, str]]:
    """Return one row per protocol, the one closest to the published value marked."""
    closest = None
    if printed is not None:
        distances = {
            label: abs(largest_difference(values, printed)) for label, values in measured.items() if values
        }
        closest = min(distances, key=distances.__getitem__, default=None)
    rows = []
    for label, values in measured.items():
        verdict = decide(values, printed, calibrations[label], rule, gap)
        protocol = label + (CLOSEST if label == closest else "")
        rows.append(ledger_row(claim, values, printed, calibrations[label], protocol, verdict))
    return rows


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


def size_rows(evidence: Evidence, study: dict[str, Any], published: pd.DataFrame) -> list[dict[str, str]]:
    """Return the parameters of every model and the operations of a Full HD frame."""
    rows = []
    weighted = evidence.frames[evidence.frames["column"] == "released_weights"]["model"].unique()
    kinds = (
        ("parameters", "Parameters of {}", count_parameters_of, count_text, COUNT_RULE, "all trainable"),
        (
            *("gmac", "GMAC of {} per Full HD frame", count_gmac_of, "{:.1f}".format, GMAC_RULE),
            "output 1920x1080, biases not counted",
        ),
    )
    for metric, claim, count, text, rule, protocol in kinds:
        for model in SIZE_MODELS:
            spec = study.get("models", {}).get(model)
            measured = []
            if spec:
                value = count(spec)
                measured = [Measured("retrained", value, f"{text(value)} (as built)")]
                if model in weighted:
                    measured.append(Measured("released_weights", value, text(value)))
            printed = find_printed(published, model, metric)
            calibration = find_printed(published, model, f"{metric}_calibration")
            verdict = decide(measured, printed, calibration, rule)
            row = ledger_row(claim.format(name_of(model)), measured, printed, calibration, protocol, verdict)
            rows.append(row)
    return rows


def count_parameters_of(spec: dict[str, Any]) -> float:
    """Count the trainable numbers of a model, without giving them memory."""
    import torch

    from rlsp.models import build_model
    from rlsp.runtime import count_parameters

    with torch.device("meta"):
        return float(count_parameters(build_model(spec)))


def count_gmac_of(spec: dict[str, Any]) -> float:
    """Count the multiply-accumulates of one Full HD frame, in units of 10^9."""
    from rlsp.runtime import count_macs

    return count_macs(spec, FULL_HD_LR) / 1e9


def speed_rows(evidence: Evidence, published: pd.DataFrame) -> list[dict[str, str]]:
    """Return the speed-up factors of 7-128, and its time for a Full HD frame."""
    model, rows = "rlsp-7-128", []
    for other, metric, is_bound in (
        ("duf-52l", "speedup_over_duf", True),
        ("frvsr-10-128", "speedup_over_frvsr", False),
    ):
        measured = [
            Measured("retrained", slow / fast, f"{slow / fast:.1f}x (as built; {setting})")
            for (fast, slow), setting in find_times(evidence, (model, other))
        ]
        printed = find_printed(published, model, metric)
        factor = f"{'over' if is_bound else 'about'} {printed.value:.0f} times"
        claim = f"{name_of(model)} is {factor} as fast as {name_of(other)}"
        verdict = decide_speedup(measured, printed, is_bound=is_bound)
        rows.append(ledger_row(claim, measured, printed, None, "one device, one frame size", verdict))
    measured = [
        Measured("retrained", time, f"{time_text(time)} ms (as built; {setting})")
        for (time,), setting in find_times(evidence, (model,), FULL_HD_LR)
    ]
    printed = find_printed(published, model, "runtime")
    verdict = NOT_COMPARABLE if measured else NOT_MEASURED
    claim = f"Time of {name_of(model)} per Full HD frame"
    return [*rows, ledger_row(claim, measured, printed, None, "output 1920x1080, batch 1", verdict)]


def decide_speedup(measured: list[Measured], printed: Printed, *, is_bound: bool) -> str:
    """Return the verdict on a factor: at least as large where it is a bound, else within `ABOUT`."""
    if not measured:
        return NOT_MEASURED
    if is_bound:
        difference = min(value.value for value in measured) - printed.value
        is_reproduced = difference >= -NOISE
    else:
        difference = largest_difference(measured, printed)
        is_reproduced = abs(difference) <= ABOUT * printed.value + NOISE
    return REPRODUCED if is_reproduced else f"{DIFFERS} {difference:+.1f}x"


def find_times(
    evidence: Evidence, models: tuple[str, ...], lr_size: tuple[int, int] | None = None
) -> list[tuple[list[float], str]]:
    """Return the median times (ms) of models timed side by side, one entry per device, and how."""
    entries = []
    for path in (folder / "runtime.csv" for folder in evidence.tables):
        runtime = read_table(path, RUNTIME_COLUMNS) if path.exists() else pd.DataFrame()
        if runtime.empty:
            continue
        timing = summarise_runtime(runtime[runtime["model"].isin(models)])
        if lr_size is not None:
            timing = timing[(timing["lr_height"] == lr_size[0]) & (timing["lr_width"] == lr_size[1])]
        way = [*SETTING_COLUMNS, "mode", "precision"]
        timing = timing[timing.groupby(way, dropna=False)["model"].transform("nunique") == len(models)]
        for device, of_device in timing.groupby("device", sort=False):
            chosen = headline_timing(of_device).drop_duplicates("model").set_index("model")
            row = chosen.iloc[0]
            setting = f"{device}, LR {row['lr_width']}x{row['lr_height']}, {row['mode']}, {row['precision']}"
            entries.append(([float(chosen.loc[model, "median_ms"]) for model in models], setting))
    return entries


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


def signed_text(decibels: float) -> str:
    """Return a difference with its sign and two digits, never ``-0.00``."""
    return f"{round(decibels, 2) + 0.0:+.2f}"


def decide_cold_start(
    drops: list[tuple[Measured, dict[int, float]]],
    expected: dict[int, Printed],
    *,
    is_claimed: bool,
    gap: str = "",
) -> str:
    """Return the verdict: PSNR has to rise over the first three frames, and drops to fit the calibration."""
    if not drops:
        return decide([], None, None, MARGIN_RULE, gap)
    kept = judged([value for value, _ in drops])
    chosen = [by_frame for value, by_frame in drops if value in kept]
    parts = [UNKNOWN]
    if is_claimed:
        step = min(of_run[frame + 1] - of_run[frame] for of_run in chosen for frame in (0, 1))
        parts = [REPRODUCED if step > 0 else f"{DIFFERS} {step:+.2f} dB from frame to frame"]
    if not expected or not kept[0].is_exact:
        return "; ".join(parts)
    beyond = [
        of_run[frame] - value.value
        for frame, value in expected.items()
        for of_run in chosen
        if abs(of_run[frame] - value.value) > MARGIN_RULE.allowance + value.half_unit + NOISE
    ]
    if beyond:
        parts.append(f"{DIFFERS} {max(beyond, key=abs):+.2f} dB from the calibration")
    elif not is_claimed:
        parts.append(CALIBRATED)
    return "; ".join(parts)


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
    verdict = decide([], None, None, MARGIN_RULE, gap_of(evidence, *evidence.gaps))
    if len(expected) > 1:
        same = [model for model in order if model in expected] == expected
        verdict = f"{UNKNOWN}; {CALIBRATED if same else 'order differs from the calibration'}"
    claim = "Order in temporal consistency on Vid4 (tOF, pixels; lower is better)"
    return ledger_row(claim, measured, None, calibration, TOF_LABEL, verdict)
