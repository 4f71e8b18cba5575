"""What a study costs before it is run: operations and hours of its trainings, and the space it needs.

Operations are counted, sizes are computed from what the study names, and hours come from training rates that
were measured on a device and lie in a table; of a device without such a table no hours are given.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from rlsp.columns import TRAINING_RATE, Columns, read_table
from rlsp.config.constants import PASSES
from rlsp.config.datasets import archive_clips, read_shipped_table
from rlsp.config.needs import few_of_archive, needed_downloads, needed_lr
from rlsp.config.specs.datasets import Archived, CameraMoves, Dataset, Pictures, Video
from rlsp.config.specs.downloads import Archive, Download, Files
from rlsp.config.specs.models import Model
from rlsp.config.specs.recipes import Recipe
from rlsp.config.study import Study
from rlsp.errors import DataError
from rlsp.files import read_json

BYTES_PER_FLOW_PIXEL = 9  # two float32 and one bool for each pixel and pair of frames (rlsp.metrics.flow)
# Height and width of downloaded pictures, which their lists of files do not tell: Vid4.
PICTURE_SIZES = {
    "vid4_gt": {"calendar": (576, 720), "city": (576, 704), "foliage": (480, 720), "walk": (480, 720)}
}
# train_sharp.zip of REDS holds PNG in 0.52 of the bytes of its pixels, and the PNG of Vid4 take 0.65.
RAW_BOUND = "at most: without compression; PNG of the truth takes about 0.6 of it"
# What a measured training is, and how fast it was: part of the columns of `TRAINING_RATE`.
RATE_COLUMNS = tuple(
    name
    for name in TRAINING_RATE.names
    if name not in ("loop", "workers", "resident", "steps", "round", "device_busy", "matrix_tflops")
)
# Of measurements that do not say what trained.
FIRST_OPTIMIZER = "adam"
TRAINING_COLUMNS = ("model", "recipe", "runs", "steps", "gmac_per_step", "pmac", "device", "hours", "rate_of")
DISK_COLUMNS = ("what", "name", "bytes", "how")

Shape = tuple[int, int, int]  # frames, height, width in HR pixels


# ---- operations ----------------------------------------------------------------------------------


def training_gmac(spec: Model, recipe: Recipe) -> float:
    """Count the multiply-accumulates of a whole training.

    Parameters
    ----------
    spec : Model
        The resolved model.
    recipe : Recipe
        The recipe; the forward pass of a frame is counted at the size of its crops.

    Returns
    -------
    float
        Thousand millions of multiply-accumulates of convolutions, forward and backward.
    """
    from rlsp.models.complexity import count_macs

    crop = recipe.crop
    of_frame = count_macs(spec, (crop, crop)) / 1e9
    return PASSES * of_frame * sum(steps * frames * batch for steps, frames, batch in phases(recipe))


def phases(recipe: Recipe) -> Iterator[tuple[int, int, int]]:
    """Yield steps, frames and batch of each part of a training: all of it, or before and with longer clips."""
    steps, longer = recipe.steps, recipe.long_clips
    before = round(longer.after * steps) if longer else steps
    yield before, recipe.frames, recipe.batch
    if longer:
        yield steps - before, longer.frames, longer.batch


def estimate_training(study: Study, rates: pd.DataFrame) -> pd.DataFrame:
    """Estimate operations and hours of the trainings of a study.

    Parameters
    ----------
    study : Study
        The study.
    rates : DataFrame
        Measured training rates of `RATE_COLUMNS` (see `read_rates`).

    Returns
    -------
    DataFrame
        One row per model, recipe and device: ``runs`` (degradations and seeds), ``steps`` of a run,
        ``gmac_per_step`` (mean over the steps), ``pmac`` (million GMAC, of all runs together), ``device``,
        ``hours`` (all runs, one at a time) and ``rate_of``, the measured row they come from. The last three
        are empty without a rate of the recipe's precision and optimizer.
    """
    counts: dict[tuple[str, str], int] = {}
    for run in study.runs_of("trained"):
        counts[run.model, run.recipe] = counts.get((run.model, run.recipe), 0) + 1
    rows = []
    for (model, name), runs in counts.items():
        recipe = study.spec.recipes[name]
        gmac = training_gmac(study.model(model), recipe)
        row = {
            "model": model, "recipe": name, "runs": runs, "steps": recipe.steps,
            "gmac_per_step": gmac / recipe.steps, "pmac": runs * gmac / 1e6,
        }  # fmt: skip
        found = estimate_hours(study, model, recipe, gmac, rates)
        rows += [{**row, "device": at, "hours": runs * hours, "rate_of": of} for at, hours, of in found]
        if not found:
            rows.append({**row, "device": None, "hours": float("nan"), "rate_of": None})
    return pd.DataFrame(rows, columns=list(TRAINING_COLUMNS))


# ---- hours ---------------------------------------------------------------------------------------


def read_rates(*folders: Path) -> pd.DataFrame:
    """Read the measured training rates, ``<device>/training_rate.csv``, of all devices.

    Parameters
    ----------
    *folders : Path
        Folders of such tables; of a device that is in several, the first one counts.

    Raises
    ------
    DataError
        A table lacks a column, or has a rate that is not above zero.
    """
    tables, paths = [], {}
    for folder in reversed(folders):
        paths |= {path.parent.name: path for path in sorted(Path(folder).glob("*/training_rate.csv"))}
    for path in paths.values():
        table = read_table(path, Columns(RATE_COLUMNS, TRAINING_RATE.added))
        table["optimizer"] = table["optimizer"].fillna(FIRST_OPTIMIZER)
        for column in ("steps_per_second", "gmac_per_step"):
            if not (table[column] > 0).all():
                raise DataError(f"{path}: {column}: expected numbers above 0, got {table[column].min()}")
        tables.append(median_rates(table))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(RATE_COLUMNS))


def median_rates(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per measured training, its median over rounds; the plain loop measured beside it is left out."""
    if "loop" in table.columns:
        table = table[table["loop"] == "rlsp"]
    settings = [column for column in RATE_COLUMNS if column != "steps_per_second"]
    return table.groupby(settings, sort=False, as_index=False)["steps_per_second"].median()[
        list(RATE_COLUMNS)
    ]


def estimate_hours(
    study: Study, model: str, recipe: Recipe, gmac: float, rates: pd.DataFrame
) -> list[tuple[str, float, str]]:
    """Return device, hours of one training, and what was measured, for each device with a rate that fits.

    The rate of the very model, batch, crop and frames is taken where there is one. Else the multiply-
    accumulates a second of the closest measured training are: same kind of model before another kind, then
    the closest count a step. Another precision or optimizer is never taken; for "auto" see
    `auto_precision`.
    """
    precision, execution = recipe.precision, recipe.execution
    found = []
    rates = rates[rates["optimizer"] == recipe.optimizer]
    for (device, threads), rows in rates.groupby(["device", "threads"], sort=False):
        rows = rows[rows["precision"] == (auto_precision(rows) if precision == "auto" else precision)]
        if (rows["execution"] == execution).any():
            rows = rows[rows["execution"] == execution]
        if rows.empty:
            continue
        row = closest_rate(study, model, recipe, gmac / recipe.steps, rows)
        seconds = gmac / (row.gmac_per_step * row.steps_per_second)
        size = f"batch {row.batch}, crop {row.crop}, frames {row.frames}"
        what = f"{row.model}, {size}, {row.precision}, {row.execution}"
        if is_other_kind(study, model, row.model):
            what += "; another kind of model"
        found.append((f"{device}, {threads} thread{'' if threads == 1 else 's'}", seconds / 3600, what))
    return found


def auto_precision(rows: pd.DataFrame) -> str:
    """Return the precision that "auto" is likely to take on the device of these rows.

    That is bf16 if one was measured, unless it was slower than fp32 at the same training: then it is emulated there.
    """
    same = ["model", "execution", "batch", "crop", "frames"]
    rates = rows.pivot_table("steps_per_second", same, "precision").reindex(columns=["bf16", "fp32"])
    is_measured, is_slower = rates["bf16"].notna().any(), (rates["bf16"] < rates["fp32"]).any()
    return "bf16" if is_measured and not is_slower else "fp32"


def closest_rate(study: Study, model: str, recipe: Recipe, gmac_per_step: float, rows: pd.DataFrame) -> Any:
    """Choose the measured training that is most like one of `model`."""

    def distance(row: Any) -> tuple[bool, bool, float]:
        is_same_size = all(getattr(row, key) == getattr(recipe, key) for key in ("batch", "crop", "frames"))
        is_exact = row.model == model and is_same_size and not recipe.long_clips
        return (
            not is_exact,
            is_other_kind(study, model, row.model),
            abs(math.log(row.gmac_per_step / gmac_per_step)),
        )

    return min(rows.itertuples(), key=distance)


def is_other_kind(study: Study, model: str, measured: str) -> bool:
    """Tell whether a measured model, named ``<kind>-...`` where the study does not define it, is of another kind."""
    known = study.spec.models.get(measured)
    return (known.arch if known else measured.split("-")[0]) != study.model(model).arch


# ---- space ---------------------------------------------------------------------------------------


def clip_shapes(study: Study, dataset: str, *, look: bool = True) -> list[Shape] | None:
    """Return frames, height and width of the clips of a data set; None where nothing tells them yet.

    They come from the study file where it tells them, else, where we may `look`, from the packed data set.
    """
    spec, manifest = study.dataset(dataset), study.clips(dataset)
    shapes = named_shapes(spec, study.spec.downloads)
    if shapes is None and look and manifest.exists():
        clips = read_json(manifest)["clips"].values()
        shapes = [(clip["frames"], clip["height"], clip["width"]) for clip in clips]
    most = spec.first_frames if isinstance(spec, Pictures | Archived) else None
    return shapes and [(min(frames, most or frames), height, width) for frames, height, width in shapes]


def named_shapes(spec: Dataset, downloads: Mapping[str, Download]) -> list[Shape] | None:
    """Return the shapes that a data set's entry tells, or None."""
    if isinstance(spec, CameraMoves) and spec.photographs is not None:
        return [(spec.frames, *spec.size)] * (len(spec.photographs) * spec.clips_per_photograph)
    if isinstance(spec, Video) and spec.region:
        height, width = (side // (spec.resize or 1) for side in spec.region[2:])
        lengths = [last - first + 1 for first, last in spec.shots.values()]
        return [(min(length, spec.frames or length), height, width) for length in lengths]
    if isinstance(spec, Pictures):
        download = downloads[spec.download]
        sizes = PICTURE_SIZES.get(download.manifest, {}) if isinstance(download, Files) else {}
        if sizes.keys() >= spec.clips.keys():
            return [(clip.frames, *sizes[name]) for name, clip in spec.clips.items()]
    if isinstance(spec, Archived) and spec.size is not None:
        return [(spec.frames, *spec.size)] * len(archive_clips(spec))
    return None


def download_bytes(spec: Download) -> int | None:
    """Return the size of a download as the catalogue or its list of files tells it, or None."""
    if isinstance(spec, Files):
        rows = read_shipped_table(spec.manifest)
        return sum(int(row["bytes"]) for row in rows if row["path"].startswith(spec.include))
    return spec.bytes if isinstance(spec, Archive) else None


def pixels(shapes: Iterable[Shape] | None, *, pairs: bool = False) -> float:
    """Count the HR pixels of clips, or of their pairs of frames; not a number where they are not known."""
    if shapes is None:
        return float("nan")
    return float(sum((frames - pairs) * height * width for frames, height, width in shapes))


def estimate_disk(study: Study, *, look: bool = True) -> pd.DataFrame:
    """Estimate the space that a study takes when it is finished and nothing has been deleted.

    Parameters
    ----------
    study : Study
        The study.
    look : bool
        Take the size of clips that the study file does not tell from packed data sets, where there are any.

    Returns
    -------
    DataFrame
        One row per thing: ``what``, ``name``, ``bytes`` (empty where it is not known before the data are
        there) and ``how`` the number is made.
    """
    needed = needed_lr(study)
    datasets = sorted({name for _, name in needed})
    shapes = {name: clip_shapes(study, name, look=look) for name in datasets}
    rows = [("download", name, *_fetched(study, name)) for name in needed_downloads(study)]
    rows += [("HR clips", name, 3 * pixels(shapes[name]), "8-bit RGB") for name in datasets]
    part = study.spec.scale**2
    rows += [
        ("LR clips", f"{name}, {degradation}", 3 * pixels(shapes[name]) / part, f"1/{part} of the HR clips")
        for degradation, name in sorted(needed)
    ]
    rows += [
        ("optical flow", name, BYTES_PER_FLOW_PIXEL * pixels(shapes[name], pairs=True), "9 bytes a pixel")
        for name in study.test_sets
    ]
    rows += [
        ("restored pictures", name, restored_bytes(study, name, shapes[name]), RAW_BOUND)
        for name in study.test_sets
    ]
    rows.append(("weights", study.name, weight_bytes(study), "4 bytes a parameter"))
    return pd.DataFrame(rows, columns=list(DISK_COLUMNS)).astype({"bytes": "float64"})


def _fetched(study: Study, name: str) -> tuple[int | None, str]:
    """Size of what is fetched of a download, and how it is known."""
    few = few_of_archive(study, name) if name in study.archives else {}
    if few:
        return sum(few.values()), f"at most: its {len(few)} clips that are needed, without compression"
    return download_bytes(study.spec.downloads[name]), "size its publisher states"


def restored_bytes(study: Study, dataset: str, shapes: list[Shape] | None) -> float:
    """Bound the size of all runs' pictures of a data set: RGB, and the luma beside it of what puts out luma."""
    channels = 0
    for run in study.runs.values():
        if dataset in run.test_sets:
            is_luma = getattr(study.spec.models.get(run.model), "output", None) == "y"
            channels += 3 + (is_luma and run.origin != "interpolation")
    return channels * pixels(shapes)


def weight_bytes(study: Study) -> float:
    """Return the size of the weights that the study trains."""
    from rlsp.models import build_model
    from rlsp.models.complexity import count_parameters

    models = [run.model for run in study.runs_of("trained")]
    sizes = {model: 4 * count_parameters(build_model(study.model(model))) for model in set(models)}
    return float(sum(sizes[model] for model in models))
