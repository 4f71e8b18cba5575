"""Tables of a study: collected tidy rows, and the summaries made from them as CSV, Markdown and LaTeX.

`collect_tables` puts the rows of all runs together and averages nothing; `write_tables` makes every summary
from those rows alone, so another trim or average costs no new score. A summary's CSV is long (what a number
means stands beside it), its Markdown and LaTeX are wide, for people.

The facts of a study come as one dictionary `study`:

- ``study``: its name; ``device``: what it was measured on, in words;
- ``protocols``: ``{name: protocol}`` (see `rlsp.reporting.protocols`); ``headline_protocol``: one of them;
- ``models``: ``{name: spec}``; ``ablation``: model names in the order of the rows, each adding one thing to
  the one before; ``reference_model``: whose run time is 1, the fastest where it is None;
- optionally ``budget``: in words, else taken from the training rows; ``degradations``: ``{name: spec}``.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlsp.clips import replace_when_complete
from rlsp.errors import ConfigError, DataError
from rlsp.reporting.printing import Section, markdown_text, tex_text
from rlsp.reporting.protocols import (
    SCORE_COLUMNS,
    apply_protocol,
    leave_one_clip_out,
    mean_over_clips,
    protocol_label,
    variant_labels,
)
from rlsp.reporting.wide import (
    SETTING_COLUMNS,
    SWITCHES,
    ablation_sections,
    accuracy_sections,
    caption_facts,
    complexity_sections,
    leave_one_out_sections,
    runtime_sections,
    temporal_sections,
)

RUNTIME_COLUMNS = (
    *("study", "model", "spec_hash", "device", "threads", "precision", "mode", "lr_height", "lr_width"),
    *("boundary", "batch", "repeat", "runtime_ms", "parameters", "gmac_per_frame", "peak_memory_mb"),
)
TRAINING_COLUMNS = (
    *("run", "model", "recipe", "degradation", "seed"),
    *("step", "loss", "psnr", "learning_rate", "steps_per_second"),
)
TEXT_COLUMNS = (
    *("study", "run", "origin", "model", "recipe", "degradation", "dataset", "clip", "left_out", "protocol"),
    *("spec_hash", "device", "precision", "mode", "boundary", "variant", "protocol_label", "seeds"),
)


# ---- reading and collecting --------------------------------------------------------------------


def read_table(path: Path | str, columns: Iterable[str]) -> pd.DataFrame:
    """Read a CSV table and check its columns.

    Names stay text, even ``007`` or ``nan``; seeds are whole numbers or empty.

    Raises
    ------
    DataError
        When the file is missing, unreadable, or lacks one of `columns`.
    """
    path = Path(path)
    types = dict.fromkeys(TEXT_COLUMNS, "str") | {"seed": "Int64"}
    try:
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise DataError(f"{path}: expected a table, there is no such file") from None
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: expected a CSV table with a header, got: {reason}") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(f"{path}: missing columns {', '.join(missing)}")
    return table


def collect_tables(
    score_files: Iterable[Path | str],
    runtime_files: Iterable[Path | str],
    training_files: Iterable[Path | str],
    tables_dir: Path | str,
) -> None:
    """Put the rows of all runs of a study into ``scores.csv``, ``runtime.csv`` and ``training.csv``.

    Parameters
    ----------
    score_files, runtime_files : iterable of paths
        Tables with the columns `SCORE_COLUMNS` and `RUNTIME_COLUMNS`.
    training_files : iterable of paths
        ``<run>/training.csv``. What says which run it is (``run, model, recipe, degradation, seed``) may be
        left out: then the run is the name of the folder and the rest comes from the scores of that run.
    tables_dir : path
        Where the three tables go.

    Raises
    ------
    DataError
        When a file lacks columns, or the studies are mixed.
    """
    tables_dir = Path(tables_dir)
    scores = joined([read_table(path, SCORE_COLUMNS) for path in score_files], SCORE_COLUMNS)
    runtime = joined([read_table(path, RUNTIME_COLUMNS) for path in runtime_files], RUNTIME_COLUMNS)
    training = joined([read_training(path, scores) for path in training_files], TRAINING_COLUMNS)
    for name, table in (("scores", scores), ("runtime", runtime)):
        studies = sorted(table["study"].dropna().unique())
        if len(studies) > 1:
            raise DataError(f"{name}: expected one study, got {', '.join(studies)}")
    for name, table in (("scores", scores), ("runtime", runtime), ("training", training)):
        write_csv(table, tables_dir / f"{name}.csv")


def joined(tables: list[pd.DataFrame], columns: Iterable[str]) -> pd.DataFrame:
    """Return the rows of all tables, these columns only; with no tables, an empty one."""
    columns = list(columns)
    filled = [table[columns] for table in tables if not table.empty]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)


def read_training(path: Path | str, scores: pd.DataFrame) -> pd.DataFrame:
    """Read one training's rows, with the labels of its run."""
    path = Path(path)
    labels = ("run", "model", "recipe", "degradation", "seed")
    table = read_table(path, [column for column in TRAINING_COLUMNS if column not in labels])
    if "run" not in table.columns:
        table = table.assign(run=path.parent.name)
    known = scores.drop_duplicates("run").set_index("run")
    for column in labels[1:]:
        if column not in table.columns:
            table[column] = table["run"].map(known[column])
    return table


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV; it appears under its name only when complete."""
    with replace_when_complete(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def write_text(text: str, path: Path) -> None:
    """Write a text file; it appears under its name only when complete."""
    with replace_when_complete(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


# ---- summaries ---------------------------------------------------------------------------------


def write_tables(tables_dir: Path | str, study: dict[str, Any]) -> None:
    """Make every summary table of a study from its collected rows.

    Writes ``accuracy``, ``leave_one_clip_out``, ``ablation``, ``complexity`` and ``temporal`` as ``.csv``,
    ``.md`` and ``.tex``; ``runtime.md`` and ``.tex`` with their numbers in ``runtime_summary.csv``, since
    ``runtime.csv`` holds the raw samples; and ``study.json``, the facts, so that the folder can be read and
    drawn on its own.

    Parameters
    ----------
    tables_dir : path
        Folder with ``scores.csv``, ``runtime.csv`` and ``training.csv`` from `collect_tables`.
    study : dict
        See the module's docstring.

    Raises
    ------
    ConfigError
        When a fact of the study is missing, or a protocol asks for a crop that was not scored.
    DataError
        When the rows are incomplete, or a trim leaves nothing of a clip.
    """
    tables_dir = Path(tables_dir)
    check_study(study)
    scores = read_table(tables_dir / "scores.csv", SCORE_COLUMNS)
    runtime = read_table(tables_dir / "runtime.csv", RUNTIME_COLUMNS)
    training = read_table(tables_dir / "training.csv", TRAINING_COLUMNS)
    facts = caption_facts(study, scores, runtime, training)
    timing = summarise_runtime(runtime, study.get("reference_model"))

    accuracy = summarise_accuracy(scores, study["protocols"])
    left_out = summarise_leave_one_out(scores, study["protocols"])
    ablation = summarise_ablation(accuracy, study, timing, scores)
    temporal = summarise_temporal(scores, study["protocols"][study["headline_protocol"]])
    write_summary(tables_dir, "accuracy", accuracy, accuracy_sections(accuracy, study, facts))
    write_summary(
        tables_dir, "leave_one_clip_out", left_out, leave_one_out_sections(left_out, accuracy, study, facts)
    )
    write_summary(tables_dir, "ablation", ablation, ablation_sections(ablation, study, facts))
    write_summary(tables_dir, "temporal", temporal, temporal_sections(temporal, study, facts))
    write_summary(
        tables_dir, "runtime", timing, runtime_sections(timing, study, facts), csv="runtime_summary"
    )
    complexity = summarise_complexity(runtime)
    write_summary(tables_dir, "complexity", complexity, complexity_sections(complexity, facts))
    write_text(json.dumps(study, indent=1, sort_keys=True) + "\n", tables_dir / "study.json")


def check_study(study: dict[str, Any]) -> None:
    """Raise a `ConfigError` unless the facts of the study are there and agree."""
    missing = [key for key in ("study", "protocols", "headline_protocol", "device") if key not in study]
    if missing:
        raise ConfigError(f"study: missing {', '.join(missing)}")
    if study["headline_protocol"] not in study["protocols"]:
        raise ConfigError(
            f"study: headline_protocol: expected one of {', '.join(study['protocols'])}, "
            f"got {study['headline_protocol']!r}"
        )


def summarise_accuracy(scores: pd.DataFrame, protocols: dict[str, dict]) -> pd.DataFrame:
    """Return PSNR and SSIM per variant, clip and protocol, and their means over clips (clip ``mean``).

    Several seeds of a variant become one row: ``psnr`` and ``ssim`` are means over seeds, ``psnr_std`` and
    ``ssim_std`` their standard deviations (n - 1 in the denominator, empty for a single seed), ``run`` all
    the runs, separated by spaces.
    """
    parts = []
    for name, protocol in protocols.items():
        per_clip = apply_protocol(scores, protocol)
        mean = mean_over_clips(per_clip).assign(clip="mean")
        rows = pd.concat([per_clip.assign(n_clips=1), mean], ignore_index=True)
        rows = over_seeds(rows, ["dataset", "clip"], ["psnr", "ssim"])
        parts.append(rows.assign(protocol=name, protocol_label=protocol_label(protocol)))
    return pd.concat(parts, ignore_index=True)


def summarise_leave_one_out(scores: pd.DataFrame, protocols: dict[str, dict]) -> pd.DataFrame:
    """Return the mean over clips with each clip left out in turn, per variant and protocol."""
    parts = []
    for name, protocol in protocols.items():
        rows = leave_one_clip_out(apply_protocol(scores, protocol))
        rows = over_seeds(rows, ["dataset", "left_out"], ["psnr", "ssim"])
        parts.append(rows.assign(protocol=name, protocol_label=protocol_label(protocol)))
    return pd.concat(parts, ignore_index=True)


def summarise_temporal(scores: pd.DataFrame, protocol: dict[str, Any]) -> pd.DataFrame:
    """Return tOF and warping error per variant and clip, and their means over clips (clip ``mean``).

    Of the protocol only the crop is used; both metrics have trims of their own.
    """
    per_clip = apply_protocol(scores, protocol | {"trim": [0, 0]})
    mean = mean_over_clips(per_clip).assign(clip="mean")
    rows = pd.concat([per_clip.assign(n_clips=1), mean], ignore_index=True)
    return over_seeds(rows, ["dataset", "clip"], ["tof", "warp_error"]).assign(crop=protocol["crop"])


def over_seeds(rows: pd.DataFrame, keys: list[str], numbers: list[str]) -> pd.DataFrame:
    """Return mean and standard deviation over the seeds of each variant, variants in order of appearance."""
    rows = rows.assign(variant=variant_labels(rows))
    names = ["variant", "model", "recipe", "origin", "degradation", *keys]
    if rows.empty:
        spread = [f"{number}_std" for number in numbers]
        return pd.DataFrame(
            columns=["run", *names, "n_clips", "n_frames", *numbers, *spread, "n_seeds", "seeds"]
        )
    groups = rows.groupby(names, sort=False, dropna=False)
    table = groups.agg(
        run=("run", " ".join),
        n_clips=("n_clips", "first"),
        n_frames=("n_frames", "first"),
        n_seeds=("run", "size"),
        seeds=("seed", lambda seeds: " ".join(str(seed) for seed in seeds.dropna())),
        **{number: (number, lambda column: column.mean(skipna=False)) for number in numbers},
        **{f"{number}_std": (number, "std") for number in numbers},
    )
    return table.reset_index()[["run", *names, *[name for name in table.columns if name != "run"]]]


def summarise_ablation(
    accuracy: pd.DataFrame, study: dict[str, Any], timing: pd.DataFrame, scores: pd.DataFrame
) -> pd.DataFrame:
    """Return the rows of the ablation in the order of the study, with their switches and gains.

    The switches are those of RLSP (section 5.1 of the paper): ``adjacent`` gives the network the previous and
    next LR frames beside the current one, ``feedback`` its previous output, ``state`` the hidden state. Its
    four rows turn on none; adjacent; adjacent and feedback; all three. A model whose specification leaves a
    switch out has it on. ``gain`` is the PSNR minus that of the row before, in dB, and ``gain_std`` its
    standard deviation over seeds where both rows have the same ones: of the differences seed by seed, since
    what a seed decides (crops, their order) is the same in both.
    """
    columns = ["degradation", "dataset", "protocol", "protocol_label", "row", "variant", "model", "recipe"]
    numbers = ["psnr", "psnr_std", "ssim", "n_seeds", "seeds", "n_clips", "n_frames", "gain", "gain_std"]
    order = {model: row for row, model in enumerate(study.get("ablation", []), start=1)}
    rows = accuracy[accuracy["model"].isin(order) & (accuracy["clip"] == "mean")]
    rows = rows.assign(row=rows["model"].map(order)).sort_values("row", kind="stable")
    rows = rows[rows["origin"].isin(["trained", "released-weights"])]
    for switch in SWITCHES:
        specs = study.get("models", {})
        rows[switch] = [bool(specs.get(model, {}).get(switch, True)) for model in rows["model"]]
    groups = rows.groupby(["degradation", "dataset", "protocol", "recipe"], sort=False, dropna=False)
    rows = rows.assign(gain=groups["psnr"].diff(), group=groups.ngroup())
    order_of_groups = rows.sort_values(["group", "row"], kind="stable")
    of_seeds = psnr_of_seeds(order_of_groups, scores, study["protocols"])
    order_of_groups = order_of_groups.assign(gain_std=gain_spread(order_of_groups["group"], of_seeds))
    first = headline_timing(timing).drop_duplicates("model").set_index("model")
    table = order_of_groups.assign(
        parameters=order_of_groups["model"].map(first["parameters"]),
        runtime_ms=order_of_groups["model"].map(first["median_ms"]),
    )
    return table[[*columns, *SWITCHES, *numbers, "parameters", "runtime_ms"]].reset_index(drop=True)


def psnr_of_seeds(
    rows: pd.DataFrame, scores: pd.DataFrame, protocols: dict[str, dict]
) -> list[dict[str, float]]:
    """Return {seed: PSNR} of each row of the ablation, in its order; empty for what has no seeds."""
    runs = {run for runs in rows["run"] for run in runs.split()}
    known = {}
    if runs:
        chosen = scores[scores["run"].isin(runs)]
        for name, protocol in protocols.items():
            means = mean_over_clips(apply_protocol(chosen, protocol))
            known |= {(name, row.dataset, row.run): row.psnr for row in means.itertuples()}
    found = []
    for row in rows.itertuples():
        psnr = [known[row.protocol, row.dataset, run] for run in row.run.split()]
        found.append(dict(zip(row.seeds.split(), psnr, strict=True)) if row.seeds else {})
    return found


def gain_spread(groups: Iterable[int], of_seeds: list[dict[str, float]]) -> list[float]:
    """Return the standard deviation of each row's gain over the row before, paired over seeds."""
    spreads, before = [], (None, {})
    for group, psnr in zip(groups, of_seeds, strict=True):
        paired = before[0] == group and len(psnr) > 1 and before[1].keys() == psnr.keys()
        gains = [psnr[seed] - before[1][seed] for seed in psnr] if paired else []
        spreads.append(float(np.std(gains, ddof=1)) if gains else float("nan"))
        before = (group, psnr)
    return spreads


def summarise_runtime(runtime: pd.DataFrame, reference_model: str | None = None) -> pd.DataFrame:
    """Return the time per output frame of each model and way of running it.

    Returns
    -------
    DataFrame
        ``median_ms``, ``q10_ms`` and ``q90_ms`` (linear between samples), ``fps`` (1000 / median),
        ``n_repeats``, and ``time_ratio``: the median over that of the reference model (by default the
        fastest) run the same way on the same device.
    """
    names = ["model", *SETTING_COLUMNS, "mode", "precision"]
    numbers = [
        "median_ms",
        "q10_ms",
        "q90_ms",
        "fps",
        "n_repeats",
        "time_ratio",
        "parameters",
        "gmac_per_frame",
    ]
    if runtime.empty:
        return pd.DataFrame(columns=[*names, *numbers])
    groups = runtime.groupby(names, sort=False, dropna=False)
    table = groups.agg(
        median_ms=("runtime_ms", "median"),
        q10_ms=("runtime_ms", lambda times: times.quantile(0.1)),
        q90_ms=("runtime_ms", lambda times: times.quantile(0.9)),
        n_repeats=("runtime_ms", "size"),
        parameters=("parameters", "first"),
        gmac_per_frame=("gmac_per_frame", "first"),
    ).reset_index()
    way = names[1:]
    candidates = table if reference_model is None else table[table["model"] == reference_model]
    reference = candidates.groupby(way, sort=False, dropna=False)["median_ms"].min()
    table = table.merge(reference.rename("reference_ms").reset_index(), on=way, how="left")
    table = table.assign(
        fps=1000.0 / table["median_ms"], time_ratio=table["median_ms"] / table["reference_ms"]
    )
    return table[[*names, *numbers]]


def headline_timing(timing: pd.DataFrame, device: str | None = None) -> pd.DataFrame:
    """Choose the one setting and way of running that figures and the ablation show.

    The network alone, eager and in fp32 where these were timed; then the largest frames, the smallest batch
    and the first device. Two devices never mix.
    """
    chosen = timing
    if device is not None and (chosen["device"] == device).any():
        chosen = chosen[chosen["device"] == device]
    wanted = {"boundary": "network", "mode": "eager", "precision": "fp32"}
    for column, value in wanted.items():
        if (chosen[column] == value).any():
            chosen = chosen[chosen[column] == value]
    if chosen.empty:
        return chosen
    chosen = chosen[chosen["batch"] == chosen["batch"].min()]
    pixels = chosen["lr_height"] * chosen["lr_width"]
    chosen = chosen[pixels == pixels.max()]
    for column in (*SETTING_COLUMNS, *wanted):
        if column not in ("mode", "precision") or chosen[column].nunique() > 1:
            chosen = chosen[chosen[column] == chosen[column].iloc[0]]
    return chosen


def summarise_complexity(runtime: pd.DataFrame) -> pd.DataFrame:
    """Return parameters, GMAC per output frame, and the highest peak memory (MB) of each model."""
    names = ["model", "device", "lr_height", "lr_width", "boundary", "batch", "mode", "precision"]
    numbers = ["parameters", "gmac_per_frame", "peak_memory_mb"]
    if runtime.empty:
        return pd.DataFrame(columns=[*names, *numbers])
    return runtime.groupby(names, sort=False, dropna=False)[numbers].max().reset_index()


# ---- writing -----------------------------------------------------------------------------------


def write_summary(
    tables_dir: Path, name: str, table: pd.DataFrame, sections: list[Section], *, csv: str | None = None
) -> None:
    """Write one summary as CSV (numbers), Markdown and LaTeX (sections)."""
    write_csv(table, tables_dir / f"{csv or name}.csv")
    write_text(markdown_text(sections), tables_dir / f"{name}.md")
    write_text(tex_text(sections, name), tables_dir / f"{name}.tex")
