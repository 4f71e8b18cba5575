"""The evidence for claims: what a study measured on whole clips of Vid4, counted and timed."""

from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from rlsp.errors import DataError
from rlsp.files import spec_hash
from rlsp.reporting.analyses import runtime
from rlsp.reporting.cells import Number, number_text, plural, time_text
from rlsp.reporting.claims.rows import CROP, PROTOCOLS, Claim
from rlsp.reporting.protocols import apply_protocol
from rlsp.reporting.results import Results
from rlsp.reporting.timing import FULL_HD_LR, SETTING_COLUMNS, WAY_COLUMNS, headline_timing, is_processor

# Columns of the ledger, the best evidence first, and what tables call them; what was made here says what it is.
EVIDENCE = {"released_frames": "frames", "released_weights": "weights", "retrained": ""}
COLUMNS = {
    "released-frames": "released_frames",
    "released-weights": "released_weights",
    "trained": "retrained",
    "interpolation": "retrained",
}
DATASET = "vid4"
VID4_FRAMES = {"calendar": 41, "city": 34, "foliage": 49, "walk": 47}
COUNTED = {"parameters": "parameters", "gmac": "gmac_per_frame"}  # by metric
AS_BUILT = "as built"


@dataclass(frozen=True)
class Measured:
    """A value measured here.

    Attributes
    ----------
    column : str
        Column of the ledger, of `EVIDENCE`.
    numbers : dict of str to float
        By their names, in order; a single one has none, "".
    text : str
        The numbers as printed.
    detail, where : str
        What it is of, and on what it was timed, in words.
    is_decisive : bool
        Whether verdicts are about this value and those like it alone: it has no seed, so that a difference from a
        published value is one of the pipeline or the protocol, and was not timed on a CPU.
    """

    column: str
    numbers: dict[str, float]
    text: str
    detail: str = ""
    where: str = ""
    is_decisive: bool = True

    @property
    def value(self) -> float:
        """The number, or the first of several."""
        return next(iter(self.numbers.values()))

    @property
    def cell(self) -> str:
        """Number and what it is of."""
        return f"{self.text} ({self.detail})" if self.detail else self.text

    def minus(self, other: "Measured", decimals: int) -> "Measured":
        """Return the difference of two values."""
        value = self.value - other.value
        return replace(self, numbers={"": value}, text=str(Number(value, decimals, is_signed=True)))


class Evidence:
    """What a study measured.

    Attributes
    ----------
    frames : DataFrame
        Score rows of whole clips, with the ``column`` of the ledger they belong to.
    gaps : dict
        Why a model with an input was not measured on whole clips, in words.
    """

    def __init__(self, results: Results) -> None:
        self.results, scores = results, results.rows("scores")
        rows = scores[(scores["dataset"] == DATASET) & (scores["crop"] == CROP)]
        rows = rows[rows["origin"].isin(COLUMNS)]
        rows = rows.assign(column=rows["origin"].map(COLUMNS))
        gaps = rows["run"].map({run: clip_gap(of_run) for run, of_run in rows.groupby("run")})
        self.frames = rows[gaps == ""]
        cut = rows.assign(gap=gaps)[gaps != ""]
        self.gaps = {(row.model, row.degradation): row.gap for row in cut.itertuples()}

    def gap(self, claim: Claim) -> str:
        """Return why a claim's models were not measured, in words."""
        return "; ".join(dict.fromkeys(self.gaps[key] for key in claim.models.items() if key in self.gaps))

    @cached_property
    def clips(self) -> pd.DataFrame:
        """Means per run, clip and protocol, with the protocol in words, ``label``."""
        known = PROTOCOLS["psnr"] | PROTOCOLS["ssim"] if len(self.frames) else {}
        parts = [
            apply_protocol(self.frames, protocol).assign(label=label) for label, protocol in known.items()
        ]
        return pd.concat([self.frames.iloc[:0].assign(label=""), *parts], ignore_index=True)

    def values(self, claim: Claim, model: str, protocol: str) -> dict[tuple[str, str], Measured]:
        """Return what was measured of a model, by column and recipe: only values that share these may be compared.

        Measures with a trim of their own are the same under every protocol.
        """
        if claim.metric == "runtime":
            return {("retrained", value.where): value for value in self.times((model,), FULL_HD_LR)}
        if claim.metric in COUNTED:
            return self.counts(claim, model)
        clips, keys = self.clips, ["origin", "recipe", "run"]
        label = protocol if claim.metric in PROTOCOLS else next(iter(PROTOCOLS["psnr"]))
        rows = clips[(clips["model"] == model) & (clips["degradation"] == claim.models[model])]
        rows = rows[(rows["label"] == label) & (rows["clip"] != claim.without)]
        rows = rows.reindex(columns=[*keys, claim.metric])
        means = rows.groupby(keys, sort=False, dropna=False)[claim.metric].mean(skipna=False).dropna()
        found = {}
        for (origin, recipe), runs in means.groupby(level=[0, 1], sort=False, dropna=False):
            seeds = f"recipe {recipe}, {plural(len(runs), 'seed')}"
            detail = {"trained": seeds, "interpolation": origin}.get(origin, "")
            text = number_text(runs.mean(), claim.decimals, runs.std())
            measured = Measured(COLUMNS[origin], {"": float(runs.mean())}, text, detail)
            batch = (COLUMNS[origin], "" if pd.isna(recipe) else str(recipe))
            found[batch] = replace(measured, is_decisive=origin != "trained")
        return found

    def counts(self, claim: Claim, model: str) -> dict[tuple[str, str], Measured]:
        """Return what was counted of a model, also as that of its released weights where these were run.

        Raises
        ------
        DataError
            The model has changed since.
        """
        rows, spec = self.results.rows("counts").set_index("model"), self.results.facts.models.get(model)
        if model not in rows.index:
            return {}
        if spec is None or spec_hash(spec.dump()) != rows.loc[model, "spec_hash"]:
            path = self.results.folder / "rows" / "counts.csv"
            raise DataError(f"{path}: model {model} has changed since it was counted")
        value = float(rows.loc[model, COUNTED[claim.metric]])
        built = Measured("retrained", {"": value}, number_text(value, claim.decimals), AS_BUILT)
        found = {("retrained", ""): built}
        if ((self.frames["model"] == model) & (self.frames["column"] == "released_weights")).any():
            found["released_weights", ""] = replace(built, column="released_weights", detail="")
        return found

    def times(self, models: tuple[str, ...], lr_size: tuple[int, int] | None = None) -> list[Measured]:
        """Return the time of a model, or that of the second of two over the first's, on each device.

        It is that of the headline's way of running them, with the range over all ways of the same setting.
        """
        timing = self.results.of(runtime.summarise)
        timing = timing[timing["model"].isin(models) & timing["median_ms"].notna()]
        if lr_size is not None:
            timing = timing[(timing["lr_height"] == lr_size[0]) & (timing["lr_width"] == lr_size[1])]
        way = [*SETTING_COLUMNS, *WAY_COLUMNS]
        several = timing.groupby(way, dropna=False)["model"].transform("nunique")
        found = []
        for device, rows in timing[several == len(models)].groupby("device", sort=False):
            first = headline_timing(rows).iloc[0]
            same = rows[(rows[[*SETTING_COLUMNS]] == first[[*SETTING_COLUMNS]]).all(axis=1)]
            table = same.pivot_table(index=[*WAY_COLUMNS], columns="model", values="median_ms", sort=False)
            values = table[models[-1]] / table[models[0]] if len(models) > 1 else table[models[0]]
            value = float(values[tuple(first[[*WAY_COLUMNS]])])
            where = f"{device}, LR {first['lr_width']}x{first['lr_height']}, {first['mode']}, {first['precision']}"
            text = "{:.1f}x".format if len(models) > 1 else lambda value: f"{time_text(value)} ms"
            if len(values) > 1:
                where += f"; {text(values.min())} to {text(values.max())} over {len(values)} ways"
            is_decisive = not is_processor(str(device))
            found.append(Measured("retrained", {"": value}, text(value), AS_BUILT, where, is_decisive))
        return found


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
