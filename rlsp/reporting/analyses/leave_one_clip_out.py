"""Leave one clip out: whether one clip decides which method is better."""

import pandas as pd

from rlsp.metrics import PSNR
from rlsp.reporting.analyses import accuracy
from rlsp.reporting.captions import degradation_text, is_comparable, seeds_columns
from rlsp.reporting.cells import with_spread
from rlsp.reporting.protocols import (
    apply_protocol,
    leave_one_clip_out,
    over_seeds,
    protocol_label,
)
from rlsp.reporting.results import Results
from rlsp.reporting.table import Column, Table

TITLE = "One clip left out"
QUESTION = (
    "Does one clip decide which method is better? A ranking that turns without a clip was decided by it."
)


def summarise(results: Results) -> pd.DataFrame:
    """Return the mean over clips with each clip left out in turn, per variant and protocol."""
    names = ["psnr", *[metric.short for metric in accuracy.frame_metrics(results)]]
    parts = []
    for name, protocol in results.facts.protocols.items():
        rows = leave_one_clip_out(apply_protocol(results.scores, protocol, results.metrics))
        rows = over_seeds(rows, ["dataset", "left_out"], names)
        parts.append(rows.assign(protocol=name, protocol_label=protocol_label(protocol)))
    return pd.concat(parts, ignore_index=True)


def tables(frame: pd.DataFrame, results: Results) -> list[Table]:
    """Return, for the headline protocol, the mean over all clips and without each clip, a row for each of these."""
    found = []
    means = accuracy.headline_means(results)
    for (dataset, degradation), rows in headline_sets(frame, results):
        of_set = means[(means["dataset"] == dataset) & (means["degradation"] == degradation)]
        of_set = of_set.set_index("variant")
        by_variant = {
            str(variant): of.set_index("left_out") for variant, of in rows.groupby("variant", sort=False)
        }
        better = "higher" if is_comparable(of_set) else None
        group = f"mean {PSNR[results.facts.headline.channel].label} [dB]"
        columns = [
            Column("method", lambda variant: variant),
            Column("all clips", lambda name, of=of_set: with_spread(of, name, "psnr", 2), group, better),
            *[
                Column(
                    f"without {clip}",
                    lambda name, clip=clip, of=by_variant: with_spread(of[name], clip, "psnr", 2),
                    group,
                    better,
                )
                for clip in rows["left_out"].unique()
            ],
            *seeds_columns(of_set, lambda name, of=of_set: of.loc[name]),
        ]
        title = (
            f"Means without each clip of {dataset}, degradation {degradation_text(degradation, results.facts)}, "
            f"{protocol_label(results.facts.headline)}"
        )
        found.append(Table.of(by_variant, columns, title, results.about(rows)))
    return found


def headline_sets(frame: pd.DataFrame, results: Results) -> "pd.api.typing.DataFrameGroupBy":
    """Return the rows under the headline protocol, by data set and degradation."""
    rows = frame[frame["protocol"] == results.facts.headline_protocol]
    return rows.groupby(["dataset", "degradation"], sort=False)


def figure(frame: pd.DataFrame, results: Results) -> None:
    """Nothing is drawn: the table is the picture."""


def findings(frame: pd.DataFrame, results: Results) -> list[str]:
    """Say which clips decide who is best: without them another method is."""
    sentences = []
    means = accuracy.headline_means(results)
    for (dataset, degradation), rows in headline_sets(frame, results):
        of_set = means[(means["dataset"] == dataset) & (means["degradation"] == degradation)]
        of_set, rows = (table.dropna(subset=["psnr"]) for table in (of_set, rows))
        if len(of_set) < 2 or not is_comparable(of_set):
            continue
        best = of_set.loc[of_set["psnr"].idxmax(), "variant"]
        without = rows.loc[rows.groupby("left_out", sort=False)["psnr"].idxmax()].set_index("left_out")
        turned = without[without["variant"] != best]
        if turned.empty:
            sentences.append(
                f"On {dataset} ({degradation}) {best} stays the most accurate whichever clip is left out."
            )
            continue
        others = ", ".join(f"without {clip} it is {row.variant}" for clip, row in turned.iterrows())
        sentences.append(f"On {dataset} ({degradation}) {best} is the most accurate, but {others}.")
    return sentences
