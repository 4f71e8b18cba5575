"""The ledger of claims: which published claims come out again."""

import re
from typing import Any

import numpy as np
import pandas as pd

from rlsp.reporting.analyses import accuracy
from rlsp.reporting.cells import EMPTY, Number, listed, plural
from rlsp.reporting.claims.evidence import AS_BUILT, EVIDENCE, Evidence
from rlsp.reporting.claims.kinds import (
    DIFFERS,
    NOT_COMPARABLE,
    NOT_MEASURED,
    NOT_PUBLISHED,
    REPRODUCED,
    TURNED,
    check_claim,
)
from rlsp.reporting.claims.rows import CROP, read_claims
from rlsp.reporting.results import Results
from rlsp.reporting.table import Column, Table

TITLE = "Claims"
QUESTION = "Which published claims come out again?"
LEGEND = (
    "Measured on the frames that the authors released (frames), with their weights (weights), or here. Where no "
    "published value is known, square brackets hold the calibration: what the authors' files gave when this pipeline "
    f"was set up. PSNR and SSIM are of Y with crop {CROP}; of the protocols in use the one closest to the published "
    "value is shown, beside the range over all of them."
)
CONFIDENCE = "Q: quoted from the source itself; S: second-hand; M: measured once from the authors' files."
CAME_OUT = {
    REPRODUCED: "came out again",
    DIFFERS: "came out differently",
    TURNED: "turned out the other way round",
    NOT_COMPARABLE: "could not be compared",
    NOT_MEASURED: "could not be measured here",
    NOT_PUBLISHED: "had no published value that is known",
}
COLUMNS = [
    *("section", "claim", "kind", "models", "metric", "published", *EVIDENCE, "protocol", "is_shown"),
    *("verdict", "difference", "value", "decimals", "allowance"),
    *("calibration", "calibration_verdict", "calibration_difference", "note", "source", "cited"),
]


def ledger(results: Results) -> pd.DataFrame:
    """Check every claim, a row for each protocol, with ``cited``: where its published values are from."""
    evidence = Evidence(results)
    return pd.DataFrame(
        {"section": section.title} | row
        for section in read_claims()
        for label, claim in section.claims.items()
        for row in check_claim(label, claim, evidence)
    )


def sources(results: Results) -> pd.DataFrame:
    """Return the sources of published values, each with a short ``key`` and ``notes`` on what is read from it."""
    notes: dict[tuple[str, str], dict[str, None]] = {}
    for cited in results.of(ledger)["cited"].explode().dropna():
        notes.setdefault(cited[:2], {}).update({cited.note: None} if cited.note else {})
    rows = [(*source, "; ".join(found)) for source, found in notes.items()]
    table = pd.DataFrame(rows, columns=["confidence", "source", "notes"])
    table = table.sort_values("confidence", key=lambda column: column.map("QSM".index), kind="stable")
    return table.assign(key=table["confidence"] + (table.groupby("confidence").cumcount() + 1).astype(str))


def summarise(results: Results) -> pd.DataFrame:
    """Return the ledger: a row for each claim and protocol, of which the closest to the published value is shown.

    ``value`` is the number that the verdict is about, the first of several; ``difference`` how far it is from the
    published one, the worst of several; ``calibration`` what this pipeline measured once from the authors' files;
    ``source`` has keys of `sources`, ``cited`` what they stand for.
    """
    if results.rows("counts").empty:
        return pd.DataFrame(columns=COLUMNS)
    frame = results.of(ledger)
    keys = {(row.confidence, row.source): row.key for row in results.of(sources).itertuples()}
    source = [" ".join(dict.fromkeys(keys[entry[:2]] for entry in cited)) for cited in frame["cited"]]
    distance = frame["difference"].abs().fillna(np.inf)
    closest = distance.groupby([frame["section"], frame["claim"]], sort=False).idxmin()
    cited = ["; ".join(map(str, dict.fromkeys(cited))) for cited in frame["cited"]]
    return frame.assign(source=source, cited=cited, is_shown=frame.index.isin(closest))[COLUMNS]


# ---- tables ------------------------------------------------------------------------------------


def tables(frame: pd.DataFrame, results: Results) -> list[Table]:
    """Return a table for each section of claims, a row for each claim, and one of the sources."""
    if frame.empty:
        return []
    columns = [
        Column("claim", lambda row: row.claim),
        Column(
            "published", lambda row: row.published or (f"[{row.calibration}]" if row.calibration else EMPTY)
        ),
        Column("measured", measured_text),
        Column("difference", difference, is_optional=True),
        Column("protocol", lambda row: re.sub(f"^.*, crop {CROP}, ", "", row.protocol)),
        Column("all protocols", lambda row: span_text(row, frame), is_optional=True),
        Column("verdict", verdict_text),
        Column("source", lambda row: row.source or EMPTY),
    ]
    about, found = results.about(accuracy.headline_means(results)), []
    for section in read_claims():
        rows = frame[frame["is_shown"] & (frame["section"] == section.title)]
        caption = f"{section.about} {about}" if found else f"{section.about} {LEGEND} {about}"
        found.append(Table.of(rows, columns, section.title, caption))
    columns = [
        Column(name, lambda row, name=name: getattr(row, name) or EMPTY)
        for name in ("key", "source", "notes")
    ]
    return [*found, Table.of(results.of(sources), columns, "Sources of the published values", CONFIDENCE)]


def difference(row: Any, column: str = "difference") -> Number:
    """Return a difference with the decimals of its claim."""
    return Number(getattr(row, column), row.decimals, is_signed=True)


def measured_text(row: Any) -> str:
    """Return the best evidence there is: the authors' frames, else their weights, else what was made here."""
    texts = {column: getattr(row, column) for column in EVIDENCE if getattr(row, column)}
    best = next(iter(texts.values()), EMPTY)
    names = ", ".join(EVIDENCE[column] for column, text in texts.items() if text == best and EVIDENCE[column])
    shown = f"{best} ({names})" if names else best
    is_more = row.retrained not in ("", best) and AS_BUILT not in row.retrained
    return f"{shown}; {row.retrained}" if is_more else shown


def span_text(row: Any, frame: pd.DataFrame) -> str:
    """Return the range of the values of a claim over its protocols; nothing where it has one or was not measured."""
    values = frame.loc[(frame["section"] == row.section) & (frame["claim"] == row.claim), "value"].dropna()
    ends = (values.min(), values.max())
    low, high = (Number(end, row.decimals, is_signed=row.kind == "margin") for end in ends)
    return f"{low} to {high}" if len(values) > 1 else ""


def verdict_text(row: Any) -> str:
    """Return the verdict, what became of the calibration where that says more, and the reason."""
    text = row.verdict
    if row.calibration_verdict == REPRODUCED and row.verdict == NOT_PUBLISHED:
        text = "calibration reproduced"
    elif row.calibration_verdict not in ("", REPRODUCED):
        text += f"; calibration {row.calibration_verdict} by {difference(row, 'calibration_difference')}"
    return f"{text} ({row.note})" if row.note else text


def figure(frame: pd.DataFrame, results: Results) -> None:
    """Nothing is drawn: the table is the picture."""


# ---- findings ----------------------------------------------------------------------------------


def findings(frame: pd.DataFrame, results: Results) -> list[str]:
    """Say how many claims are reproduced and which are not, and which protocol the published values fit best."""
    if frame.empty:
        return []
    shown = frame[frame["is_shown"]]
    parts = []
    for verdict, what in CAME_OUT.items():
        rows = shown[shown["verdict"] == verdict]
        named = [
            row.claim + ("" if pd.isna(row.difference) else f": {difference(row)}")
            for row in rows.itertuples()
        ]
        detail = f" ({'; '.join(named)})"
        if verdict == NOT_PUBLISHED:
            calibrated = (rows["calibration_verdict"] == REPRODUCED).sum()
            detail = f" ({calibrated} of them have the value that the authors' files gave)"
        parts += [f"{len(rows)} {what}{'' if verdict == REPRODUCED else detail}"] if len(rows) else []
    total = f"Of {plural(len(shown), 'claim')}, each under the protocol closest to what was published,"
    return [f"{total} {listed(parts)}.", *closest_protocol(frame, results)]


def closest_protocol(frame: pd.DataFrame, results: Results) -> list[str]:
    """Say which protocol agrees best with all published PSNR values of methods together."""
    scores = results.rows("scores")
    filters = scores.loc[scores["origin"] == "interpolation", "model"]
    rows = frame[(frame["kind"] == "value") & (frame["metric"] == "psnr") & ~frame["models"].isin(filters)]
    rows = rows[rows["difference"].notna()]
    if rows["models"].nunique() < 2:
        return []
    worst = rows["difference"].abs().groupby(rows["protocol"], sort=False).max()
    return [
        f"Closest to the published PSNR of all {plural(rows['models'].nunique(), 'method')} together is "
        f"{worst.idxmin()}: at most {worst.min():.2f} dB off; the values were printed without their protocol."
    ]
