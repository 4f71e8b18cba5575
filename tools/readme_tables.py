"""Tables of the README, made from kept results: each a `Table` of the reporting, printed as Markdown."""

import itertools
from pathlib import Path

import pandas as pd

from rlsp.columns import TRAINING_RATE, read_table
from rlsp.config.study import Study
from rlsp.errors import DataError
from rlsp.planning.estimate import estimate_disk, estimate_training, read_rates
from rlsp.reporting.analyses import accuracy, precisions, runtime, speed
from rlsp.reporting.captions import recipe_name, seeds_words, step_text
from rlsp.reporting.cells import EMPTY, Cell, Number, plural, with_spread
from rlsp.reporting.estimates import amount, hours_of_all, total
from rlsp.reporting.printing import markdown_lines
from rlsp.reporting.protocols import protocol_label
from rlsp.reporting.results import Results
from rlsp.reporting.table import Column, Table
from rlsp.reporting.timing import headline_setting, headline_timing
from rlsp.shipped import ROOT

SHOWN = {
    "trained": "trained here",
    "released-frames": "released frames",
    "released-weights": "released weights",
}
AUTHORS = "In brackets: the authors' own weights or frames, measured in the study `released`. "
Authors = dict[tuple[str, str, str], float]  # PSNR by degradation, data set and model


def block(table: Table) -> str:
    """Print a table as it stands in the README: its caption below."""
    return f"{markdown_lines(table)}\n\n{table.caption}"


def link(path: Path, name: str = "") -> str:
    """Link to a file of the repository."""
    path = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return f"[{name or path}]({path})"


# ---- accuracy ----------------------------------------------------------------------------------


def released_block(folder: Path) -> str:
    """Make the table of Vid4: published values beside what comes out here."""
    results = Results(folder)
    rows = results.published.query("metric == 'psnr' and dataset == 'vid4' and confidence != 'M'")
    printed = rows.drop_duplicates("model").set_index("model")
    protocols = [name for name in ("crop8-trim2-video", "crop8-all-frame") if name in results.facts.protocols]
    lines = []
    means = results.of(accuracy.summarise).query("clip == 'mean'")
    for (model, degradation, origin), of_run in means.groupby(["model", "degradation", "origin"], sort=False):
        by_protocol = of_run.set_index("protocol")["psnr"]
        is_printed = model in printed.index and origin != "interpolation"
        text = f"{printed.loc[model, 'value']} ({printed.loc[model, 'confidence']})" if is_printed else EMPTY
        values = [Number(by_protocol[name], 2) for name in protocols]
        lines.append([model, degradation, text, *values, SHOWN.get(origin, origin)])
    labels = [protocol_label(results.facts.protocols[name]) for name in protocols]
    caption = (
        "Vid4, scale 4, PSNR in dB, mean over the four clips; border, trimmed frames and averaging in the heads. "
        "Published: as printed (Q: read at the source, S: from a secondary source), protocol often not stated. "
        "gaussian: sigma 1.5, gaussian-1.6: sigma 1.6, both sampled at phase 0. "
        f"From {link(folder / 'tables' / 'accuracy.csv')}."
    )
    heads = ["method", "degradation", "published", *labels, "made from"]
    return block(Table.of_cells(heads, lines, caption=caption))


def authors_psnr(released: Path) -> Authors:
    """PSNR that the authors' weights or frames have here, by degradation, data set and model."""
    rows = accuracy.headline_means(Results(released))
    rows = rows[rows["origin"].isin(["released-frames", "released-weights"])]
    keys = rows[["degradation", "dataset", "model"]].itertuples(index=False, name=None)
    return dict(zip(keys, rows["psnr"], strict=True))


def study_block(folder: Path, authors: Authors | None = None) -> str:
    """Make the table of a trained study: every variant on every data set, and the ablation's order.

    Parameters
    ----------
    folder : Path
        Reference of the study.
    authors : dict, optional
        What :func:`authors_psnr` gives; shown in brackets behind a model's own number.
    """
    results = Results(folder)
    means = accuracy.headline_means(results)
    timing = headline_timing(results.of(runtime.summarise))
    timed = timing.set_index("model")
    degradations = list(means["degradation"].unique())
    places = list(itertools.product(degradations, means["dataset"].unique()))
    heads = [f"{dataset}{f' ({name})' * (len(degradations) > 1)} [dB]" for name, dataset in places]
    lines = []
    for variant, of_variant in means.groupby("variant", sort=False):
        by_place, model = of_variant.set_index(["degradation", "dataset"]), of_variant["model"].iloc[0]
        cells = [_psnr(by_place, place, model, authors or {}) for place in places]
        time = timed.reindex([model]).iloc[0]
        lines.append([variant, *cells, Number(time["median_ms"], 1), Number(time["parameters"], 0)])
    caption = (
        f"{protocol_label(results.facts.headline)}; {_inputs(results, degradations)}; mean over clips; "
        f"{_seeds(means)}; {_budget(results)}. {AUTHORS if authors else ''}The rows of the ablation are "
        f"{', '.join(results.facts.ablation)}. {_times(timing)}From {link(folder / 'tables')}."
    )
    return block(Table.of_cells(["method", *heads, "ms per frame", "parameters"], lines, caption=caption))


def _psnr(by_place: pd.DataFrame, place: tuple[str, str], model: str, authors: Authors) -> Cell:
    number = with_spread(by_place, place, "psnr", 2)
    known = authors.get((*place, model))
    return number if known is None or number.is_empty else f"{number} [{known:.2f}]"


def _inputs(results: Results, degradations: list[str]) -> str:
    """Name the degradations in words, with the sigma and phase of those that have them."""
    texts = []
    for name in degradations:
        spec = results.facts.degradations.get(name)
        told = ", ".join(f"{key} {getattr(spec, key):g}" for key in ("sigma", "phase") if hasattr(spec, key))
        texts.append(f"{name} input" + (f" ({told})" if told else ""))
    return " and ".join(texts)


def _seeds(means: pd.DataFrame) -> str:
    """Name the seeds of the trained runs."""
    text = seeds_words(means)
    return f"{'seed' if text.isdigit() else 'seeds'} {text}"


def _budget(results: Results) -> str:
    """Say how long was trained, and on how much in each step where the study's recipes are known."""
    training = results.rows("training")
    steps = training.groupby("run")["step"].max().unique()
    text = ", ".join(f"{int(n):,}" for n in sorted(steps)) + " steps"
    told = (
        step_text(rows, recipe)
        for name, recipe in results.facts.recipes.items()
        if len(rows := training[training["recipe"].map(recipe_name) == name])
    )
    return text + " or".join(dict.fromkeys(told))


# ---- time --------------------------------------------------------------------------------------


def _times(timing: pd.DataFrame) -> str:
    """Say on what a study's models were timed, if they were."""
    return "" if timing.empty else f"Times: median on {_device(timing)}. "


def _device(timing: pd.DataFrame) -> str:
    """Say on what and on which frames the shown times were measured."""
    row = timing.iloc[0]
    return f"{row['device']}, {row['threads']} threads, LR {row['lr_width']}x{row['lr_height']}"


def speed_block(folder: Path) -> str:
    """Make the table of run times: the same plain code for every model, and each in its fastest way."""
    results = Results(folder)
    points = results.of(speed.summarise)
    points = points[(points["mode"] == "eager") & (points["precision"] == "fp32")]
    timing = headline_setting(results.of(runtime.summarise))
    timing = timing[timing["median_ms"].notna()]
    fastest = timing.sort_values("median_ms", kind="stable").drop_duplicates("model").set_index("model")
    columns = [
        Column("method", lambda row: row.label),
        Column(
            "PSNR-Y [dB]", lambda row: f"{Number(row.psnr, 2)}{'*' * (row.psnr_from == speed.PUBLISHED_PSNR)}"
        ),
        Column("ms, eager fp32", lambda row: Number(row.median_ms, 1)),
        Column(f"time / {results.facts.reference_model}", lambda row: Number(row.time_ratio, 2)),
        Column(
            "published", lambda row: row.published_ratio if isinstance(row.published_ratio, str) else EMPTY
        ),
        Column("ms, fastest way", lambda row: Number(fastest.loc[row.model, "median_ms"], 1)),
        Column("which", lambda row: " ".join(fastest.loc[row.model, ["mode", "precision"]])),
        Column("times eager-nchw fp32", lambda row: Number(fastest.loc[row.model, "plain_ratio"], 1)),
        Column("floor / time", lambda row: Number(fastest.loc[row.model, "of_floor"], 2)),
    ]
    caption = (
        f"One frame at a time at scale 4, the network alone; medians on {_device(timing)}. "
        "PSNR as in the first table, * as published (protocol of the source). "
        "Floor: operations over the measured matrix rate, or bytes over the measured bandwidth, whichever is longer; "
        "a ratio above 1 means that the rate was measured in a slower moment than the time, or that the convolutions "
        "are faster than the dense products that were measured. "
        f"From {link(folder / 'tables' / 'speed.csv')} and {link(folder / 'tables' / 'runtime.md', 'runtime.md')}."
    )
    rows = points[points["panel"] == points["panel"].iloc[0]] if len(points) else points
    return block(Table.of(rows, columns, "", caption))


def precisions_block(folder: Path) -> str:
    """Make the table of what lower precisions change in the restored frames."""
    results = Results(folder)
    tables = precisions.tables(results.of(precisions.summarise), results)
    if not tables:
        return "The device multiplies in no precision below fp32 that was to be compared."
    (table,) = tables
    return f"{block(table)} From {link(folder / 'tables' / 'precisions.csv')}."


# ---- cost --------------------------------------------------------------------------------------


def costs_block(files: list[Path], rates: Path) -> str:
    """Make the table of what each study costs: operations, hours on measured devices, space."""
    measured = read_rates(rates)
    studies = [Study.from_file(file) for file in files]
    trainings = [estimate_training(study, measured) for study in studies]
    devices = list(dict.fromkeys(device for table in trainings for device in table["device"].dropna()))
    lines: list[list[Cell]] = []
    for study, training in zip(studies, trainings, strict=True):
        sizes = estimate_disk(study, look=False)["bytes"]
        hours = [amount(hours_of_all(training, device)) for device in devices]
        more = " and more" if sizes.isna().any() else ""
        sums = [Number(total(training, "runs"), 0), amount(total(training, "pmac"))]
        lines.append([study.name, *sums, *hours, f"{amount(sizes.sum() / 1e9)}{more}"])
    how = (
        "from measured training rates"
        if devices
        else "no rate of their precisions and optimizers was measured yet"
    )
    caption = (
        "Before a study is run (`rlsp estimate --study FILE` says how each number is made). PMAC: 10^15 "
        "multiply-accumulates of all trainings, forward and backward; hours: of all trainings one after the other, "
        f"{how}; GB: at most, nothing deleted, and more where clips of one's own or packages come on top."
    )
    heads = ["study", "trainings", "PMAC", *[f"hours on {device}" for device in devices], "GB on disk"]
    return block(Table.of_cells(heads, lines, caption=caption))


def rates_block(rates: Path) -> str:
    """Make the table of measured training rates: steps a second, beside those of a plain loop.

    Raises
    ------
    DataError
        Nothing was measured.
    """
    paths = sorted(rates.glob("*/training_rate.csv"))
    if not paths:
        raise DataError(f"{rates}: expected <device>/training_rate.csv, run rlsp rate")
    lines, captions = [], []
    for path in paths:
        table = read_table(path, TRAINING_RATE)
        lines += [
            _rate_line(rows) for _, rows in table.groupby(["model", "batch", "crop", "frames"], sort=False)
        ]
        first, low, high = table.iloc[0], table["steps"].min(), table["steps"].max()
        steps = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        captions.append(
            f"{first['device']}, {plural(first['threads'], 'thread')}: medians of {table['round'].nunique()} rounds of "
            f"{steps} steps, in which the loops take turns ({link(path)})."
        )
    heads = ["device", "model", "batch, crop, frames", "precision", "steps a second", "plain loop", "ratio", "busy",
             "10^6 LR pixels a second", "of matrix rate"]  # fmt: skip
    what = (
        "Plain: PNG files decoded for every crop, fp32, channels first, no reading ahead, same batch. Busy: "
        "part of the time in which the device does not wait for data. Of matrix rate: operations, forward and "
        "backward, of those that dense products of this precision do in the same time, where that was measured."
    )
    return block(Table.of_cells(heads, lines, caption=" ".join([what, *captions])))


def _rate_line(rows: pd.DataFrame) -> list[Cell]:
    """Return the cells of one model and crop: medians of our loop beside the plain one."""
    median = rows.groupby("loop")[["steps_per_second", "device_busy"]].median()
    ours, plain = median.loc["rlsp", "steps_per_second"], median.loc["plain", "steps_per_second"]
    own = rows[rows["loop"] == "rlsp"].iloc[0]
    batch, crop, frames = own["batch"], own["crop"], own["frames"]
    share = 2 * own["gmac_per_step"] * ours / 1e3 / own["matrix_tflops"]
    return [
        own["device"], own["model"], f"{batch}, {crop}x{crop}, {frames}", f"{own['precision']}, {own['execution']}",
        Number(ours, 2), Number(plain, 2), Number(ours / plain, 1), f"{100 * median.loc['rlsp', 'device_busy']:.0f} %",
        Number(ours * batch * frames * crop**2 / 1e6, 2), EMPTY if pd.isna(share) else f"{100 * share:.0f} %",
    ]  # fmt: skip
