"""What was measured on whole clips of Vid4, here and in other studies: the evidence for the ledger of claims."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rlsp.columns import SCORES, read_table
from rlsp.reporting.printing import number_text, plural, signed_text
from rlsp.reporting.protocols import apply_protocol, protocol_label

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


def read_evidence(tables_dir: Path, others: Sequence[Path]) -> Evidence:
    """Read the scores of this study, and what other studies trained, as far as they cover Vid4."""
    frames, clips, gaps = [], [], {}
    for folder in (tables_dir, *others):
        scores = read_table(folder / "scores.csv", SCORES)
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
    empty = pd.DataFrame(columns=[*SCORES.names, "column", "label", "psnr", "ssim"])
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
