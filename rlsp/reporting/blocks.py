"""Short tables for a page, one for each kind of reference, as Markdown with a caption."""

import itertools
from pathlib import Path
from typing import Any

import pandas as pd

from rlsp.columns import TRAINING_RATE, read_table
from rlsp.config.study import Study
from rlsp.errors import DataError
from rlsp.reporting.figures import read_study
from rlsp.reporting.printing import EMPTY, count_text, markdown_table, number_text, plural, spread_text
from rlsp.reporting.protocols import protocol_label
from rlsp.reporting.published import read_published
from rlsp.reporting.timing import headline_setting, headline_timing
from rlsp.reporting.wide import recipe_name, seeds_words, step_text
from rlsp.shipped import ROOT

SHOWN = {
    "trained": "trained here",
    "released-frames": "released frames",
    "released-weights": "released weights",
}


AUTHORS = "In brackets: the authors' own weights or frames, measured in the study `released`. "


def released_block(folder: Path) -> str:
    """Make the table of Vid4: published values beside what comes out here."""
    study, accuracy = read_study(folder / "tables"), pd.read_csv(folder / "tables" / "accuracy.csv")
    published = read_published().query("metric == 'psnr' and dataset == 'vid4' and confidence != 'M'")
    printed = published.drop_duplicates("model").set_index("model")
    protocols = [name for name in study["protocols"] if name in ("crop8-trim2-video", "crop8-all-frame")]
    labels = [protocol_label(study["protocols"][name]) for name in protocols]
    rows = [["method", "degradation", "published", *labels, "made from"]]
    means = accuracy[accuracy["clip"] == "mean"]
    for (model, degradation, origin), of_run in means.groupby(["model", "degradation", "origin"], sort=False):
        by_protocol = of_run.set_index("protocol")["psnr"]
        known = model in printed.index and origin != "interpolation"
        text = f"{printed.loc[model, 'value']} ({printed.loc[model, 'confidence']})" if known else "–"
        values = [f"{by_protocol[name]:.2f}" for name in protocols]
        rows.append([model, degradation, text, *values, SHOWN.get(origin, origin)])
    path = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    caption = (
        "Vid4, scale 4, PSNR in dB, mean over the four clips; border, trimmed frames and averaging in the heads. "
        "Published: as printed (Q: read at the source, S: from a secondary source), protocol often not stated. "
        "gaussian: sigma 1.5, gaussian-1.6: sigma 1.6, both sampled at phase 0. "
        f"From [{path}/tables/accuracy.csv]({path}/tables/accuracy.csv)."
    )
    return f"{markdown_table(rows)}\n\n{caption}"


def authors_psnr(released: Path) -> dict[tuple[str, str, str], float]:
    """PSNR that the authors' weights or frames have here, by degradation, data set and model."""
    study, accuracy = read_study(released / "tables"), pd.read_csv(released / "tables" / "accuracy.csv")
    rows = accuracy[(accuracy["clip"] == "mean") & (accuracy["protocol"] == study["headline_protocol"])]
    rows = rows[rows["origin"].isin(["released-frames", "released-weights"])]
    keys = rows[["degradation", "dataset", "model"]].itertuples(index=False, name=None)
    return dict(zip(keys, rows["psnr"], strict=True))


def study_block(folder: Path, authors: dict[tuple[str, str, str], float] | None = None) -> str:
    """Make the table of a trained study: every variant on every data set, and the ablation's order.

    Parameters
    ----------
    folder : Path
        Reference of the study.
    authors : dict, optional
        What :func:`authors_psnr` gives; shown in brackets behind a model's own number.
    """
    study, accuracy = read_study(folder / "tables"), pd.read_csv(folder / "tables" / "accuracy.csv")
    means = accuracy[(accuracy["clip"] == "mean") & (accuracy["protocol"] == study["headline_protocol"])]
    timing = headline_timing(pd.read_csv(folder / "tables" / "runtime_summary.csv")).set_index("model")
    datasets, degradations = list(means["dataset"].unique()), list(means["degradation"].unique())
    shown = [f" ({name})" if len(degradations) > 1 else "" for name in degradations]
    heads = [f"{dataset}{degradation} [dB]" for degradation in shown for dataset in datasets]
    rows = [["method", *heads, "ms per frame", "parameters"]]
    for variant, of_variant in means.groupby("variant", sort=False):
        by_column = of_variant.set_index(["degradation", "dataset"])
        columns = itertools.product(degradations, datasets)
        timed = timing.reindex([of_variant["model"].iloc[0]]).iloc[0]
        rows.append(
            [variant, *[_cell(by_column, column, of_variant["model"].iloc[0], authors or {}) for column in columns],
             number_text(timed["median_ms"], 1), count_text(timed["parameters"])]
        )  # fmt: skip
    path = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    caption = (
        f"{protocol_label(study['protocols'][study['headline_protocol']])}; {_inputs(study, degradations)}; "
        f"mean over clips; {_seeds(means)}; "
        f"{_budget(folder, study)}. {AUTHORS if authors else ''}The rows of the ablation are "
        f"{', '.join(study['ablation'])}. {_times(timing)}From [{path}/tables]({path}/tables)."
    )
    return f"{markdown_table(rows)}\n\n{caption}"


def _cell(
    by_column: pd.DataFrame, column: tuple[str, str], model: str, authors: dict[tuple[str, str, str], float]
) -> str:
    text = spread_text(by_column, column, "psnr", 2)
    known = authors.get((*column, model))
    return f"{text} [{known:.2f}]" if known is not None and text != EMPTY else text


def costs_block(files: list[Path], rates: Path) -> str:
    """Make the table of what each study costs: operations, hours on measured devices, space."""
    from rlsp.planning.estimate import estimate_disk, estimate_training, read_rates
    from rlsp.reporting.estimates import amount_text, hours_of_all, total

    measured = read_rates(rates)
    studies = [Study.from_file(file) for file in files]
    trainings = [estimate_training(study, measured) for study in studies]
    devices = list(dict.fromkeys(device for table in trainings for device in table["device"].dropna()))
    rows = [["study", "trainings", "PMAC", *[f"hours on {device}" for device in devices], "GB on disk"]]
    for study, training in zip(studies, trainings, strict=True):
        sizes = estimate_disk(study, look=False)["bytes"]
        hours = [amount_text(hours_of_all(training, device)) for device in devices]
        more = " and more" if sizes.isna().any() else ""
        sums = [count_text(total(training, "runs")), amount_text(total(training, "pmac"))]
        rows.append([study.name, *sums, *hours, f"{amount_text(sizes.sum() / 1e9)}{more}"])
    caption = (
        "Before a study is run (`rlsp estimate --study FILE` says how each number is made). PMAC: 10^15 "
        "multiply-accumulates of all trainings, forward and backward; hours: of all trainings one after the other, "
        f"{'from measured training rates' if devices else 'no device was measured yet'}; GB: at most, nothing deleted, "
        "and more where clips of one's own or packages come on top."
    )
    return f"{markdown_table(rows)}\n\n{caption}"


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
    rows = [
        ["device", "model", "batch, crop, frames", "precision", "steps a second", "plain loop", "ratio", "busy",
         "10^6 LR pixels a second", "of matrix rate"]
    ]  # fmt: skip
    captions = []
    for path in paths:
        table = read_table(path, TRAINING_RATE)
        for (model, batch, crop, frames), of_model in table.groupby(
            ["model", "batch", "crop", "frames"], sort=False
        ):
            median = of_model.groupby("loop")[["steps_per_second", "device_busy"]].median()
            ours, plain = median.loc["rlsp"], median.loc["plain"]
            own = of_model[of_model["loop"] == "rlsp"].iloc[0]
            rows.append(
                [own["device"], model, f"{batch}, {crop}x{crop}, {frames}", f"{own['precision']}, {own['execution']}",
                 number_text(ours["steps_per_second"], 2), number_text(plain["steps_per_second"], 2),
                 number_text(ours["steps_per_second"] / plain["steps_per_second"], 1),
                 f"{100 * ours['device_busy']:.0f} %",
                 number_text(ours["steps_per_second"] * batch * frames * crop**2 / 1e6, 2),
                 matrix_share_text(own, ours["steps_per_second"])]
            )  # fmt: skip
        rounds, first = table["round"].nunique(), table.iloc[0]
        low, high = table["steps"].min(), table["steps"].max()
        steps = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        captions.append(
            f"{first['device']}, {plural(first['threads'], 'thread')}: medians of {rounds} rounds of "
            f"{steps} steps, in which the loops take turns ([{name}]({name}))."
        )
    what = (
        "Plain: PNG files decoded for every crop, fp32, channels first, no reading ahead, same batch. Busy: "
        "part of the time in which the device does not wait for data. Of matrix rate: operations, forward and "
        "backward, of those that dense products of this precision do in the same time, where that was measured."
    )
    return f"{markdown_table(rows)}\n\n{what} {' '.join(captions)}"


def matrix_share_text(row: pd.Series, steps_per_second: float) -> str:
    """Say how much of a device's matrix rate a training loop reaches."""
    if pd.isna(row["matrix_tflops"]):
        return EMPTY
    return f"{100 * 2 * row['gmac_per_step'] * steps_per_second / 1e3 / row['matrix_tflops']:.0f} %"


def speed_block(folder: Path) -> str:
    """Make the table of run times: the same plain code for every model, and each in its fastest way."""
    speed = pd.read_csv(folder / "tables" / "speed.csv")
    speed = speed[(speed["mode"] == "eager") & (speed["precision"] == "fp32")]
    timing = headline_setting(pd.read_csv(folder / "tables" / "runtime_summary.csv"))
    timing = timing[timing["median_ms"].notna()]
    fastest = timing.sort_values("median_ms", kind="stable").drop_duplicates("model").set_index("model")
    reference = read_study(folder / "tables")["reference_model"]
    rows = [
        ["method", "PSNR-Y [dB]", "ms, eager fp32", f"time / {reference}", "published", "ms, fastest way", "which",
         "times eager-nchw fp32", "floor / time"]
    ]  # fmt: skip
    for row in speed[speed["panel"] == speed["panel"].iloc[0]].itertuples():
        best = fastest.loc[row.model]
        mark = "*" if row.psnr_from == "published" else ""
        rows.append(
            [row.label, f"{number_text(row.psnr, 2)}{mark}", number_text(row.median_ms, 1),
             number_text(row.time_ratio, 2), row.published_ratio if isinstance(row.published_ratio, str) else EMPTY,
             number_text(best["median_ms"], 1), f"{best['mode']} {best['precision']}",
             number_text(best["plain_ratio"], 1), number_text(best["of_floor"], 2)]
        )  # fmt: skip
    path = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    caption = (
        f"One frame at a time at scale 4, the network alone; medians on {_device(timing)}. "
        "PSNR as in the first table, * as published (protocol of the source). "
        "Floor: operations over the measured matrix rate, or bytes over the measured bandwidth, whichever is longer; "
        "a ratio above 1 means that the rate was measured in a slower moment than the time, or that the convolutions "
        "are faster than the dense products that were measured. "
        f"From [{path}/tables/speed.csv]({path}/tables/speed.csv) and "
        f"[runtime.md]({path}/tables/runtime.md)."
    )
    return f"{markdown_table(rows)}\n\n{caption}"


def precisions_block(folder: Path) -> str:
    """Make the table of what lower precisions do to the pictures; the report shows it too."""
    table = pd.read_csv(folder / "tables" / "precisions.csv")
    if table.empty:
        return "The device multiplies in no precision below fp32 that was to be compared."
    rows = [
        ["weights", "precision", "mean over clips [dB]", "largest of a clip [dB]", "long clip, first part [dB]",
         "last part [dB]", "least PSNR to fp32 [dB]"]
    ]  # fmt: skip
    for (model, precision), of_run in table.groupby(["model", "precision"], sort=False):
        clips, long = (of_run.loc[of_run["part"] == part, "difference_db"] for part in ("clip", "long"))
        ends = [f"{value:+.4f}" for value in (long.iloc[0], long.iloc[-1])] if len(long) else [EMPTY, EMPTY]
        rows.append(
            [model, precision, f"{clips.mean():+.4f}", f"{clips.loc[clips.abs().idxmax()]:+.4f}", *ends,
             f"{of_run['psnr_between'].min():.1f}"]
        )  # fmt: skip
    frames = table.loc[table["part"] == "long", ["first_frame", "frames"]].sum(axis=1).max()
    path, first = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder, table.iloc[0]
    caption = (
        f"PSNR-Y against the truth (crop 8, all frames) minus that of fp32, on {', '.join(table['dataset'].unique())}; "
        f"long clip: {table['clip'].iloc[0]} played there and back for {frames:,.0f} frames, first and last hundred. "
        f"On {first['device']}, {plural(first['threads'], 'thread')}. "
        f"From [{path}/tables/precisions.csv]({path}/tables/precisions.csv)."
    )
    return f"{markdown_table(rows)}\n\n{caption}"


def _inputs(study: dict[str, Any], degradations: list[str]) -> str:
    """Name the degradations in words, with the sigma and phase of those that have them."""
    texts = []
    for name in degradations:
        spec = study.get("degradations", {}).get(name, {})
        told = ", ".join(f"{key} {spec[key]:g}" for key in ("sigma", "phase") if key in spec)
        texts.append(f"{name} input" + (f" ({told})" if told else ""))
    return " and ".join(texts)


def _seeds(means: pd.DataFrame) -> str:
    """Name the seeds of the trained runs."""
    text = seeds_words(means)
    return f"{'seed' if text.isdigit() else 'seeds'} {text}"


def _budget(folder: Path, study: dict[str, Any]) -> str:
    """Say how long was trained, and on how much in each step where the study's recipes are known."""
    training = pd.read_csv(folder / "tables" / "training.csv")
    steps = training.groupby("run")["step"].max().unique()
    text = ", ".join(f"{int(n):,}" for n in sorted(steps)) + " steps"
    recipes = study.get("recipes", {})
    told = (
        step_text(rows, recipe)
        for name, recipe in recipes.items()
        if len(rows := training[training["recipe"].map(recipe_name) == name])
    )
    return text + " or".join(dict.fromkeys(told))


def _times(timing: pd.DataFrame) -> str:
    """Say on what a study's models were timed, if they were."""
    return "" if timing.empty else f"Times: median on {_device(timing)}. "


def _device(timing: pd.DataFrame) -> str:
    """Say on what and on which frames the shown times were measured."""
    row: Any = timing.iloc[0]
    return f"{row['device']}, {row['threads']} threads, LR {row['lr_width']}x{row['lr_height']}"
