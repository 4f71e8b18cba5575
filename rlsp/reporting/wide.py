"""Wide tables of a study for people: the sections that Markdown and LaTeX print, made from its summaries."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from rlsp.reporting.printing import EMPTY, Section, count_text, number_text, plural, spread_text, time_text
from rlsp.reporting.protocols import protocol_label, ssim_label

SWITCHES = ("adjacent", "feedback", "state")
TOF_LABEL = "tOF (Farneback, Y, TecoGAN's crop and trim)"
SPREAD = "mean ± standard deviation over seeds, n - 1 in the denominator"
MOST_CLIPS_WIDE = 8  # above this a page is too narrow: the wide tables show the mean, the CSV all clips


@dataclass(frozen=True)
class Facts:
    """What every caption of a study says: study and device, seeds, budget.

    Attributes
    ----------
    study, budget : str
        What stands before the seeds, and behind them.
    """

    study: str
    budget: str

    def of(self, rows: pd.DataFrame) -> str:
        """Say it of a table's rows, whose seeds may be others than those of the study's further rows."""
        return f"{self.study}; seeds: {seeds_words(rows)}; budget: {self.budget}."


def caption_facts(study: dict[str, Any], runtime: pd.DataFrame, training: pd.DataFrame) -> Facts:
    """Return what every caption says, the device in words where it was timed."""
    devices = [device for device in runtime["device"].dropna().unique() if device != study["device"]]
    device = f"{study['device']} ({'; '.join(devices)})" if devices else study["device"]
    budget = study.get("budget") or training_budget(training, study.get("recipes", {}))
    return Facts(f"Study {study['study']}; device: {device}", budget)


def seeds_words(rows: pd.DataFrame) -> str:
    """Name the seeds behind the rows of a table, and say what ``±`` is where there is one.

    Parameters
    ----------
    rows : DataFrame
        ``variant``, ``degradation`` and ``seeds``: numbers with spaces between them, a single one perhaps as a number,
        empty for what has none. Where rows have seeds of their own each is named.
    """
    is_named_by_input = rows["degradation"].nunique() > 1
    names: dict[tuple[int, ...], list[str]] = {}
    for row in rows[rows["seeds"].notna()].itertuples():
        seeds = tuple(sorted(int(float(seed)) for seed in str(row.seeds).split()))
        if seeds:
            names.setdefault(seeds, []).append(
                f"{row.variant} ({row.degradation})" if is_named_by_input else str(row.variant)
            )
    if not names:
        return "none"
    several = [seeds for seeds in names if len(seeds) > 1]
    single = [seeds for seeds in names if len(seeds) == 1]
    if len(several) > 1 or len(single) > 1:
        of_each = {seeds: ", ".join(dict.fromkeys(found)) for seeds, found in names.items()}
        text, alone = "; ".join(f"{_numbers(seeds)} of {found}" for seeds, found in of_each.items()), ""
    else:
        text = _numbers((several or single)[0])
        alone = f"; without ±: seed {_numbers(single[0])} only" if single else ""
    return f"{text} ({SPREAD}{alone})" if several else text


def _numbers(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds))


def training_budget(training: pd.DataFrame, recipes: dict[str, dict[str, Any]]) -> str:
    """Return the steps that were trained, per recipe, in words, and what each step saw where it is known."""
    if training.empty:
        return "nothing trained"
    steps = training.groupby(["recipe", "run"], sort=False, dropna=False)["step"].max()
    texts = []
    for recipe, counts in steps.groupby(level=0, sort=False, dropna=False):
        low, high = int(counts.min()), int(counts.max())
        text = f"{recipe} {low:,} steps" if low == high else f"{recipe} {low:,} to {high:,} steps"
        known = recipes.get(recipe_name(recipe), {})
        texts.append(text + step_text(training[training["recipe"] == recipe], known))
    return ", ".join(texts)


def recipe_name(label: str) -> str:
    """Take the recipe's name out of what tables call it: runs that began with other weights say with which."""
    return str(label).partition(" from ")[0]


def step_text(training: pd.DataFrame, recipe: dict[str, Any]) -> str:
    """Return what a step of a recipe sees and computes in, as far as it is known: a recipe may be empty."""
    precision = precision_text(training, recipe)
    return (crops_text(recipe) if recipe else "") + (f" in {precision}" if precision else "")


def precision_text(training: pd.DataFrame, recipe: dict[str, Any]) -> str:
    """Return what convolutions were computed in: as the logs tell, else as the recipe asks; empty if neither does."""
    logged = training["precision"].dropna().unique() if "precision" in training.columns else []
    asked = recipe.get("precision", "")
    return " and ".join(sorted(logged)) or ("" if asked == "auto" else asked)


def crops_text(recipe: dict[str, Any]) -> str:
    """Return what one step of a recipe sees, such as `` of 4 crops, 64x64 LR pixels and 10 frames``."""
    side = recipe["crop"]
    return f" of {plural(recipe['batch'], 'crop')}, {side}x{side} LR pixels and {plural(recipe['frames'], 'frame')}"


def degradation_text(name: str, study: dict[str, Any]) -> str:
    """Return a degradation's name, with its sigma and phase where the study tells them."""
    spec = study.get("degradations", {}).get(name, {})
    told = [f"{key} {spec[key]:g}" for key in ("scale", "sigma", "phase") if key in spec]
    return f"{name} ({', '.join(told)})" if told else str(name)


def accuracy_sections(accuracy: pd.DataFrame, study: dict[str, Any], facts: Facts) -> list[Section]:
    """Return one table per data set, degradation and protocol, the headline protocol first."""
    sections = []
    for (dataset, degradation), of_set in accuracy.groupby(["dataset", "degradation"], sort=False):
        for name in headline_first(study):
            rows = of_set[of_set["protocol"] == name]
            caption = (
                f"Accuracy on {dataset}, degradation {degradation_text(degradation, study)}, "
                f"protocol {name}: {protocol_label(study['protocols'][name])}. {counts_text(rows)} {facts.of(rows)}"
            )
            sections.append(accuracy_section(rows, study["protocols"][name], degradation, caption))
    return sections


def accuracy_section(rows: pd.DataFrame, protocol: dict[str, Any], degradation: str, caption: str) -> Section:
    """Return the wide accuracy table of one data set, degradation and protocol."""
    psnr = f"{protocol_label(protocol)}, {degradation} [dB]"
    ssim = f"{ssim_label(protocol)}, {degradation}"
    clips = [clip for clip in rows["clip"].unique() if clip != "mean"]
    shown = clips if len(clips) <= MOST_CLIPS_WIDE else []
    heads = [("", "method"), *[(psnr, clip) for clip in [*shown, "mean"]], (ssim, "mean")]
    lines = []
    for variant, of_variant in rows.groupby("variant", sort=False):
        by_clip = of_variant.set_index("clip")
        cells = [spread_text(by_clip, clip, "psnr", 2) for clip in [*shown, "mean"]]
        lines.append([str(variant), *cells, spread_text(by_clip, "mean", "ssim", 4)])
    return Section(caption, *with_counts(heads, lines, rows))


def with_counts(
    heads: list[tuple[str, str]], lines: list[list[str]], rows: pd.DataFrame
) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """Add each method's number of clips, frames and seeds to a wide table."""
    counts = rows[rows["clip"] == "mean"].set_index("variant")
    for line in lines:
        line += [str(int(counts.loc[line[0], column])) for column in ("n_clips", "n_frames")]
        line.append(seeds_text(counts.loc[line[0]]))
    return [*heads, ("", "clips"), ("", "frames"), ("", "seeds")], lines


def seeds_text(row: Any) -> str:
    """Return the number of seeds behind a number, a dash for what has none (interpolation, released)."""
    return str(row.n_seeds) if row.seeds else EMPTY


def counts_text(rows: pd.DataFrame) -> str:
    """Return the number of clips and frames, with a warning where methods differ in them."""
    counts = rows[rows["clip"] == "mean"][["n_clips", "n_frames"]].drop_duplicates()
    if len(counts) != 1:
        return "Methods differ in clips or frames and are not comparable."
    clips, frames = (int(count) for count in counts.iloc[0])
    return f"{plural(clips, 'clip')}, {plural(frames, 'frame')} after the trim."


def leave_one_out_sections(
    left_out: pd.DataFrame, accuracy: pd.DataFrame, study: dict[str, Any], facts: Facts
) -> list[Section]:
    """Return, for the headline protocol, the mean over all clips and with each clip left out."""
    name = study["headline_protocol"]
    protocol = study["protocols"][name]
    sections = []
    rows = left_out[left_out["protocol"] == name]
    for (dataset, degradation), of_set in rows.groupby(["dataset", "degradation"], sort=False):
        clips = list(of_set["left_out"].unique())
        head = f"{protocol_label(protocol)}, {degradation}, mean over clips [dB]"
        heads = [("", "method"), (head, "all clips"), *[(head, f"without {clip}") for clip in clips]]
        heads.append(("", "seeds"))
        means = accuracy[
            (accuracy["protocol"] == name) & (accuracy["clip"] == "mean") & (accuracy["dataset"] == dataset)
        ]
        means = means[means["degradation"] == degradation].set_index("variant")
        lines = []
        for variant, of_variant in of_set.groupby("variant", sort=False):
            by_clip = of_variant.set_index("left_out")
            cells = [spread_text(by_clip, clip, "psnr", 2) for clip in clips]
            cells = [spread_text(means, variant, "psnr", 2), *cells, seeds_text(means.loc[variant])]
            lines.append([str(variant), *cells])
        caption = (
            f"Leave-one-clip-out means on {dataset}, degradation {degradation_text(degradation, study)}."
        )
        sections.append(Section(f"{caption} {facts.of(of_set)}", heads, lines))
    return sections


def ablation_sections(ablation: pd.DataFrame, study: dict[str, Any], facts: Facts) -> list[Section]:
    """Return one ablation table per degradation, data set and recipe, under the headline protocol."""
    sections = []
    keys = ["degradation", "dataset", "recipe"]
    for (degradation, dataset, recipe), rows in ablation.groupby(keys, sort=False, dropna=False):
        headline = rows[rows["protocol"] == study["headline_protocol"]]
        heads = [
            ("", "method"),
            *[("switches", switch) for switch in SWITCHES],
            *ablation_heads(study["protocols"][study["headline_protocol"]], degradation),
            *[("", "parameters"), ("", "time per frame [ms]"), ("", "seeds")],
        ]
        lines = [
            [
                row.variant,
                *["yes" if getattr(row, switch) else "no" for switch in SWITCHES],
                *[number_text(row.psnr, 2, row.psnr_std), number_text(row.gain, 2, row.gain_std, sign="+")],
                *[count_text(row.parameters), time_text(row.runtime_ms), seeds_text(row)],
            ]
            for row in headline.itertuples()
        ]
        caption = (
            f"Ablation on {dataset}, degradation {degradation_text(degradation, study)}, recipe {recipe}."
        )
        counts = counts_text(headline.assign(clip="mean"))
        if headline["gain_std"].notna().any():
            counts += " The spread of a gain is that of the differences between trainings of the same seed."
        sections.append(Section(f"{caption} {counts} {facts.of(headline)}", heads, lines))
    return sections


def ablation_heads(protocol: dict[str, Any], degradation: str) -> list[tuple[str, str]]:
    """Return the heads of the two columns of numbers in an ablation table."""
    label = f"{protocol_label(protocol)}, {degradation} [dB]"
    return [(label, "mean over clips"), (label, "gain over the row above")]


def headline_first(study: dict[str, Any]) -> list[str]:
    """Return the names of the protocols, the headline protocol first."""
    headline = study["headline_protocol"]
    return [headline, *[name for name in study["protocols"] if name != headline]]


def temporal_sections(temporal: pd.DataFrame, study: dict[str, Any], facts: Facts) -> list[Section]:
    """Return one table of tOF and warping error per data set and degradation."""
    sections = []
    for (dataset, degradation), rows in temporal.groupby(["dataset", "degradation"], sort=False):
        tof = f"{TOF_LABEL}, {degradation} [pixels]"
        rows = rows.assign(**{name: rows[name] * 1000 for name in ("warp_error", "warp_error_std")})
        warp = f"warping error x 1000, crop {rows['crop'].iloc[0]}, all pairs, {degradation}"
        clips = [clip for clip in rows["clip"].unique() if clip != "mean"]
        shown = [*(clips if len(clips) <= MOST_CLIPS_WIDE else []), "mean"]
        heads = [("", "method"), *[(tof, clip) for clip in shown], (warp, "mean")]
        lines = []
        for variant, of_variant in rows.groupby("variant", sort=False):
            by_clip = of_variant.set_index("clip")
            cells = [spread_text(by_clip, clip, "tof", 3) for clip in shown]
            lines.append([str(variant), *cells, spread_text(by_clip, "mean", "warp_error", 3)])
        caption = (
            f"Temporal consistency on {dataset}, degradation {degradation_text(degradation, study)}; lower is better. "
            "tOF as TecoGAN's metrics.py; warping error: mean squared change of the luma, in [0, 1], along "
            "the true motion, where it is visible in both frames."
        )
        sections.append(Section(f"{caption} {facts.of(rows)}", *with_counts(heads, lines, rows)))
    return sections
