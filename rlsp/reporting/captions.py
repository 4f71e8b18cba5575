"""What captions say once for all numbers of a table: study, device, seeds, budget, input, protocol, counts."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from rlsp.config.specs.facts import Facts
from rlsp.config.specs.recipes import Recipe
from rlsp.reporting.cells import EMPTY, plural
from rlsp.reporting.table import Column

SPREAD = "mean ± standard deviation over seeds, n - 1 in the denominator"


# ---- seeds and counts --------------------------------------------------------------------------


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


def seeds_columns(rows: pd.DataFrame, row_of: Callable[[Any], Any] = lambda row: row) -> list[Column]:
    """Return a column with the number of seeds behind each row where rows differ in it: else the caption says it.

    Parameters
    ----------
    rows : DataFrame
        ``n_seeds`` and ``seeds``, which is empty for what has none (interpolation, released).
    row_of : callable
        Finds the row of what a table's rows are made from.
    """

    def cell(row: Any) -> str:
        return str(row_of(row).n_seeds) if row_of(row).seeds else EMPTY

    counts = rows.loc[rows["seeds"].astype(bool), "n_seeds"]
    return [Column("seeds", cell)] if counts.nunique() > 1 else []


def is_comparable(means: pd.DataFrame) -> bool:
    """Whether means are of as many clips and frames for every method."""
    return len(means[["n_clips", "n_frames"]].drop_duplicates()) == 1


def counts_text(rows: pd.DataFrame, *, trim: bool = True) -> str:
    """Return the number of clips and frames of means, with a warning where methods differ in them."""
    if not is_comparable(rows):
        return "Methods differ in clips or frames and are not comparable."
    clips, frames = (int(count) for count in rows[["n_clips", "n_frames"]].iloc[0])
    return f"{plural(clips, 'clip')}, {plural(frames, 'frame')}{' after the trim' if trim else ''}."


# ---- budget ------------------------------------------------------------------------------------


def training_budget(training: pd.DataFrame, recipes: Mapping[str, Recipe]) -> str:
    """Return the steps that were trained, per recipe, in words, and what each step saw where it is known."""
    if training.empty:
        return "nothing trained"
    steps = training.groupby(["recipe", "run"], sort=False, dropna=False)["step"].max()
    texts = []
    for recipe, counts in steps.groupby(level=0, sort=False, dropna=False):
        low, high = int(counts.min()), int(counts.max())
        text = f"{recipe} {low:,} steps" if low == high else f"{recipe} {low:,} to {high:,} steps"
        known = recipes.get(recipe_name(recipe))
        texts.append(text + step_text(training[training["recipe"] == recipe], known))
    return ", ".join(texts)


def recipe_name(label: str) -> str:
    """Take the recipe's name out of what tables call it: runs that began with other weights say with which."""
    return str(label).partition(" from ")[0]


def step_text(training: pd.DataFrame, recipe: Recipe | None) -> str:
    """Return what a step of a recipe sees and computes in, as far as it is known."""
    precision = precision_text(training, recipe)
    return (crops_text(recipe) if recipe else "") + (f" in {precision}" if precision else "")


def precision_text(training: pd.DataFrame, recipe: Recipe | None) -> str:
    """Return what convolutions were computed in: as the logs tell, else as the recipe asks; empty if neither does."""
    logged = training["precision"].dropna().unique() if "precision" in training.columns else []
    asked = recipe.precision if recipe else ""
    return " and ".join(sorted(logged)) or ("" if asked == "auto" else asked)


def crops_text(recipe: Recipe) -> str:
    """Return what one step of a recipe sees, such as `` of 4 crops, 64x64 LR pixels and 10 frames``."""
    side = recipe.crop
    return f" of {plural(recipe.batch, 'crop')}, {side}x{side} LR pixels and {plural(recipe.frames, 'frame')}"


# ---- input -------------------------------------------------------------------------------------


def degradation_text(name: str, facts: Facts) -> str:
    """Return a degradation's name, with its scale, sigma, phase and own arguments where the study tells them."""
    spec = facts.degradations.get(name)
    told = [
        f"{key} {value:g}" if isinstance(value, int | float) else f"{key} {value}"
        for key, value in (spec.told.items() if spec else ())
    ]
    return f"{name} ({', '.join(told)})" if told else str(name)


def frame_text(height: int, width: int, facts: Facts) -> str:
    """Return the size of a frame, such as ``1920x1080 output, LR 480x270``."""
    scale = facts.scale
    output = f"{width * scale}x{height * scale} output, " if scale else ""
    return f"{output}LR {width}x{height}"
