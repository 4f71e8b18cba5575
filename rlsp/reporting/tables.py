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

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlsp.columns import RUNTIME, RUNTIME_CASES, SCORES, SWEEP, TRAINING, TRAINING_LOG, joined, read_table
from rlsp.errors import ConfigError, DataError
from rlsp.files import write_csv, write_json, write_text
from rlsp.reporting.costs import summarise_costs
from rlsp.reporting.printing import Section, markdown_text, tex_text
from rlsp.reporting.protocols import (
    apply_protocol,
    leave_one_clip_out,
    mean_over_clips,
    protocol_label,
    variant_labels,
)
from rlsp.reporting.published import read_published
from rlsp.reporting.speed import summarise_speed
from rlsp.reporting.timing import (
    headline_timing,
    summarise_complexity,
    summarise_runtime,
)
from rlsp.reporting.wide import (
    SWITCHES,
    ablation_sections,
    accuracy_sections,
    caption_facts,
    leave_one_out_sections,
    temporal_sections,
)
from rlsp.reporting.wide_timing import complexity_sections, cost_sections, runtime_sections, speed_sections

# ---- reading and collecting --------------------------------------------------------------------


def collect_tables(
    score_files: Iterable[Path | str],
    runtime_files: Iterable[Path | str],
    training_files: Iterable[Path | str],
    tables_dir: Path | str,
    *,
    case_files: Iterable[Path | str] = (),
    sweep_files: Iterable[Path | str] = (),
) -> None:
    """Put the rows of all runs of a study into one table of each kind, averaging nothing.

    Writes ``scores.csv``, ``runtime.csv``, ``training.csv``, ``runtime_cases.csv`` and ``sweep.csv``; what there
    is nothing of has its columns only.

    Parameters
    ----------
    score_files, runtime_files, case_files, sweep_files : iterable of paths
        Tables with the columns `SCORES`, `RUNTIME`, `RUNTIME_CASES` and `SWEEP` of `rlsp.columns`.
    training_files : iterable of paths
        ``<run>/training.csv``. What says which run it is (``run, model, recipe, degradation, seed``) may be
        left out: then the run is the name of the folder and the rest comes from the scores of that run.
    tables_dir : path
        Where the tables go.

    Raises
    ------
    DataError
        When a file lacks columns, or the studies are mixed.
    """
    tables_dir = Path(tables_dir)
    kinds = {
        "scores": (score_files, SCORES),
        "runtime": (runtime_files, RUNTIME),
        "runtime_cases": (case_files, RUNTIME_CASES),
        "sweep": (sweep_files, SWEEP),
    }
    tables = {
        name: joined([read_table(path, columns) for path in files], columns)
        for name, (files, columns) in kinds.items()
    }
    for name, table in tables.items():
        studies = sorted(table["study"].dropna().unique())
        if len(studies) > 1:
            raise DataError(f"{name}: expected one study, got {', '.join(studies)}")
    logs = [read_training(path, tables["scores"]) for path in training_files]
    tables["training"] = joined(logs, TRAINING)
    for name, table in tables.items():
        write_csv(tables_dir / f"{name}.csv", table)


def read_training(path: Path | str, scores: pd.DataFrame) -> pd.DataFrame:
    """Read one training's rows, with the labels of its run."""
    path = Path(path)
    labels = ("run", "model", "recipe", "degradation", "seed")
    table = read_table(path, TRAINING_LOG)
    if "run" not in table.columns:
        table = table.assign(run=path.parent.name)
    known = scores.drop_duplicates("run").set_index("run")
    for column in labels[1:]:
        if column not in table.columns:
            table[column] = table["run"].map(known[column])
    return table


# ---- summaries ---------------------------------------------------------------------------------


def write_tables(
    tables_dir: Path | str, study: dict[str, Any], *, published: pd.DataFrame | None = None
) -> None:
    """Make every summary table of a study from its collected rows.

    Writes ``accuracy``, ``leave_one_clip_out``, ``ablation``, ``complexity``, ``temporal``, ``speed`` and
    ``cost_curves`` as ``.csv``, ``.md`` and ``.tex``; ``runtime.md`` and ``.tex`` with their numbers in
    ``runtime_summary.csv``, since ``runtime.csv`` holds the raw samples; and ``study.json``, the facts, so that the
    folder can be read and drawn on its own.

    Parameters
    ----------
    tables_dir : path
        Folder with the tables from `collect_tables`; one of an earlier version has no ``runtime_cases.csv`` and no
        ``sweep.csv``.
    study : dict
        See the module's docstring.
    published : DataFrame, optional
        What `read_published` returns, by default of the package's own file.

    Raises
    ------
    ConfigError
        When a fact of the study is missing, or a protocol asks for a crop that was not scored.
    DataError
        When the rows are incomplete, or a trim leaves nothing of a clip.
    """
    tables_dir = Path(tables_dir)
    check_study(study)
    published = read_published() if published is None else published
    scores = read_table(tables_dir / "scores.csv", SCORES)
    runtime = read_table(tables_dir / "runtime.csv", RUNTIME)
    training = read_table(tables_dir / "training.csv", TRAINING)
    timing = read_timing(tables_dir, study.get("reference_model"))

    accuracy = summarise_accuracy(scores, study["protocols"])
    facts = caption_facts(study, runtime, training)
    of_all = facts.of(accuracy)
    left_out = summarise_leave_one_out(scores, study["protocols"])
    ablation = summarise_ablation(accuracy, study, timing, scores)
    temporal = summarise_temporal(scores, study["protocols"][study["headline_protocol"]])
    complexity, costs = summarise_complexity(runtime), summarise_costs(read_sweep(tables_dir))
    speed = summarise_speed(accuracy, timing, study, published)
    summaries = {
        "accuracy": (accuracy, accuracy_sections(accuracy, study, facts)),
        "leave_one_clip_out": (left_out, leave_one_out_sections(left_out, accuracy, study, facts)),
        "ablation": (ablation, ablation_sections(ablation, study, facts)),
        "temporal": (temporal, temporal_sections(temporal, study, facts)),
        "runtime": (timing, runtime_sections(timing, study, of_all)),
        "complexity": (complexity, complexity_sections(complexity, of_all)),
        "speed": (speed, speed_sections(speed, study, of_all)),
        "cost_curves": (costs, cost_sections(costs, study, of_all)),
    }
    for name, (table, sections) in summaries.items():
        write_summary(tables_dir, name, table, sections, csv={"runtime": "runtime_summary"}.get(name))
    write_json(tables_dir / "study.json", study, sort_keys=True)


def read_timing(tables_dir: Path, reference_model: str | None = None) -> pd.DataFrame:
    """Read the raw run times of a folder of tables, of any version, and summarise them."""
    cases = tables_dir / "runtime_cases.csv"
    runtime = read_table(tables_dir / "runtime.csv", RUNTIME)
    known = read_table(cases, RUNTIME_CASES) if cases.exists() else None
    return summarise_runtime(runtime, reference_model, known)


def read_sweep(tables_dir: Path) -> pd.DataFrame:
    """Read the raw rows of the cost curves of a folder of tables; there are none in one of an earlier version."""
    path = tables_dir / "sweep.csv"
    return read_table(path, SWEEP) if path.exists() else SWEEP.empty()


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


# ---- writing -----------------------------------------------------------------------------------


def write_summary(
    tables_dir: Path, name: str, table: pd.DataFrame, sections: list[Section], *, csv: str | None = None
) -> None:
    """Write one summary as CSV (numbers), Markdown and LaTeX (sections)."""
    write_csv(tables_dir / f"{csv or name}.csv", table)
    write_text(tables_dir / f"{name}.md", markdown_text(sections))
    write_text(tables_dir / f"{name}.tex", tex_text(sections, name))
