"""Kinds of claims, one function each: what was measured of a claim, and whether it agrees with what was published."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from rlsp.reporting.analyses import ablation
from rlsp.reporting.cells import Number, plural
from rlsp.reporting.claims.evidence import EVIDENCE, Evidence, Measured
from rlsp.reporting.claims.rows import CROP, PROTOCOLS, Claim
from rlsp.reporting.published import Printed

RETRAINED_ALLOWANCE = 0.1  # dB: 7-128 beats 7-256 by 0.35 dB on one clip in four, so seeds move about 0.1
NOISE = 1e-9  # of binary fractions: 27.475 - 27.46 is not more than 0.015

REPRODUCED = "reproduced"
DIFFERS = "differs"
TURNED = "order turned"
NOT_PUBLISHED = "not published"
NOT_MEASURED = "not measured"
NOT_COMPARABLE = "not comparable"
ON_CPU = "on a CPU, not a GPU as in the paper"


@dataclass(frozen=True)
class Verdict:
    """Whether values agree with a published one: in a word, by how much they differ at most, and what to add."""

    word: str
    difference: float = float("nan")
    note: str = ""


@dataclass(frozen=True)
class Check:
    """What was measured of a claim under one protocol, and what the authors' files gave once, by name."""

    protocol: str
    measured: list[Measured]
    calibration: dict[str, Printed]
    label: str = ""


def check_claim(label: str, claim: Claim, evidence: Evidence) -> list[dict[str, Any]]:
    """Return the rows of the ledger of a claim, `label` in words: one for each protocol it is checked under."""
    checks = [*KINDS[claim.kind](claim, evidence)] or [Check(claim.protocol or "", [], {})]
    return [ledger_row(label + check.label, claim, check, evidence) for check in checks]


def ledger_row(label: str, claim: Claim, check: Check, evidence: Evidence) -> dict[str, Any]:
    """Return what became of a claim: texts, numbers, verdicts, and ``cited``, a list of `Citation`."""
    printed, known = claim.find_printed(evidence.results.published), check.calibration
    kept = [value for value in check.measured if value.is_decisive] or check.measured
    verdict = judge(claim, kept, printed) if kept else Verdict(NOT_MEASURED, note=evidence.gap(claim))
    calibrated = judge_calibration(claim, kept, known)
    row = {"claim": label, "kind": claim.kind, "models": " ".join(claim.models), "metric": claim.metric}
    for column in EVIDENCE:
        row[column] = "; ".join(value.cell for value in check.measured if value.column == column)
    return row | {
        "published": printed.text if printed else "",
        "protocol": "; ".join(value.where for value in check.measured if value.where) or check.protocol,
        "value": kept[0].value if kept else math.nan,
        "decimals": claim.decimals,
        "allowance": claim.allowance,
        "verdict": verdict.word,
        "difference": verdict.difference,
        "note": verdict.note,
        "calibration": ", ".join(f"{name} {value.text}".strip() for name, value in known.items()),
        "calibration_verdict": calibrated.word,
        "calibration_difference": calibrated.difference,
        "cited": [source for value in (printed, *known.values()) if value for source in value.cited],
    }


# ---- verdicts ----------------------------------------------------------------------------------


def judge(claim: Claim, kept: list[Measured], printed: Printed | None) -> Verdict:
    """Compare measured values with the published one; what was printed in words is that numbers rise."""
    values = [value.value for value in kept]
    if printed is None:
        verdict = Verdict(NOT_PUBLISHED)
    elif math.isnan(printed.value):
        verdict = rises([[*value.numbers.values()][: claim.rising] for value in kept])
    elif claim.allowance is None:
        verdict = Verdict(NOT_COMPARABLE, note=f"published {printed.cited[0].note}")
    elif claim.at_least:
        difference = min(values) - printed.value
        verdict = Verdict(REPRODUCED if difference >= -NOISE else DIFFERS, difference)
    else:
        allowance = claim.allowance if kept[0].is_decisive else max(claim.allowance, RETRAINED_ALLOWANCE)
        verdict = compare([(value, printed) for value in values], allowance)
    if claim.kind == "margin" and min(values) <= 0:
        verdict = replace(verdict, word=TURNED)
    is_cpu = claim.allowance is not None and kept[0].where and not kept[0].is_decisive
    return replace(verdict, note=ON_CPU) if is_cpu else verdict


def judge_calibration(claim: Claim, kept: list[Measured], known: dict[str, Printed]) -> Verdict:
    """Compare values without a seed with what the authors' files gave, or their order where there is no allowance."""
    if not kept or not kept[0].is_decisive:
        return Verdict("")
    rows = [[(value.numbers[name], known[name]) for name in known if name in value.numbers] for value in kept]
    if claim.allowance is None:
        return rises([[number for number, _ in row] for row in rows])
    return compare([pair for row in rows for pair in row], claim.allowance)


def compare(pairs: list[tuple[float, Printed]], allowance: float) -> Verdict:
    """Compare values with printed ones: each may be off by the allowance and half a unit of its last printed digit."""
    off = [(value - printed.value, allowance + printed.half_unit + NOISE) for value, printed in pairs]
    beyond = [difference for difference, most in off if abs(difference) > most]
    worst = max(beyond or [difference for difference, _ in off], key=abs, default=math.nan)
    return Verdict((DIFFERS if beyond else REPRODUCED) if off else "", worst)


def rises(rows: list[list[float]]) -> Verdict:
    """Say whether the numbers of each row rise; the difference is the step that falls the most."""
    step = min((float(step) for row in rows for step in np.diff(row)), default=math.nan)
    if step <= 0:
        return Verdict(DIFFERS, step, "from one to the next")
    return Verdict(REPRODUCED if step > 0 else "")


# ---- kinds -------------------------------------------------------------------------------------


def value(claim: Claim, evidence: Evidence) -> Iterator[Check]:
    """Find a number of one model: PSNR, SSIM, parameters, operations, time."""
    for protocol in claim.labels:
        measured = evidence.values(claim, next(iter(claim.models)), protocol)
        yield Check(protocol, [*measured.values()], calibration(claim, evidence, protocol))


def margin(claim: Claim, evidence: Evidence) -> Iterator[Check]:
    """Find by how much one model is better than another of the same origin and recipe."""
    for protocol in claim.labels:
        values, others = (evidence.values(claim, model, protocol) for model in claim.models)
        measured = [
            found.minus(others[batch], claim.decimals) for batch, found in values.items() if batch in others
        ]
        yield Check(protocol, measured, calibration(claim, evidence, protocol))


def calibration(claim: Claim, evidence: Evidence, protocol: str) -> dict[str, Printed]:
    """Return what the authors' files gave once of a single number, under a protocol where there are several."""
    label = protocol if claim.metric in PROTOCOLS else None
    found = claim.find_calibration(evidence.results.published, label)
    return {"": found} if found else {}


def speed_up(claim: Claim, evidence: Evidence) -> Iterator[Check]:
    """Find how many times as fast as another a model is, on one device."""
    yield Check(claim.protocol or "", evidence.times(tuple(claim.models)), {})


def order(claim: Claim, evidence: Evidence) -> Iterator[Check]:
    """Find a measure of several models, the lowest first; a claim of an order has its models in that order."""
    protocol, published = claim.labels[0], evidence.results.published
    values = {model: evidence.values(claim, model, protocol) for model in claim.models}
    measured = []
    for column, recipe in dict.fromkeys(batch for found in values.values() for batch in found):
        batches = [(column, recipe), (column, "")]  # interpolation has no recipe
        found = {model: of[batch] for model, of in values.items() for batch in batches if batch in of}
        if len(found) > 1:
            numbers = {model: value.value for model, value in found.items()}
            text = numbers_text(sorted(numbers.items(), key=itemgetter(1)), claim.decimals)
            measured.append(replace(next(iter(found.values())), numbers=numbers, text=text))
    known = {model: claim.find_calibration(published, None, model) for model in claim.models}
    known = {model: value for model, value in known.items() if value}
    yield Check(protocol, measured, dict(sorted(known.items(), key=lambda entry: entry[1].value)))


def cold_start(claim: Claim, evidence: Evidence) -> Iterator[Check]:
    """Find how far the frames after a cold start lie below the steady ones (dB), the mean over clips."""
    ((model, degradation),) = claim.models.items()
    below = "minus the mean of frames {}..{}, crop {}".format(*claim.steady, CROP)
    rows, measured, known = evidence.frames, [], {}
    rows = rows[(rows["model"] == model) & (rows["degradation"] == degradation)]
    for (column, origin, run), of_run in rows.groupby(["column", "origin", "run"], sort=False):
        psnr = of_run.pivot(index="frame", columns="clip", values="psnr_y")
        drops = (psnr.loc[[*claim.frames]] - psnr.loc[slice(*claim.steady)].mean()).mean(axis=1)
        numbers = {f"t={frame}": float(drop) for frame, drop in drops.items()}
        text, detail = numbers_text(numbers.items(), 2, is_signed=True), run if origin == "trained" else ""
        measured.append(Measured(column, numbers, text, detail, is_decisive=not detail))
    for frame in claim.frames:
        if value := claim.find_calibration(evidence.results.published, f"PSNR-Y of frame {frame} {below}"):
            known[f"t={frame}"] = value
    yield Check(f"PSNR-Y of single frames {below}, mean over clips", measured, known)


def ingredients(claim: Claim, evidence: Evidence) -> Iterator[Check]:
    """Find what each ingredient of RLSP adds to its PSNR: the rows of the paper's section 5.1, on any data set."""
    rows = evidence.results.of(ablation.summarise)
    parts = [rows[rows["protocol_label"] == label] for label in PROTOCOLS["psnr"]]
    keys = ["degradation", "dataset", "protocol_label"]
    for (degradation, dataset, protocol), of_set in pd.concat(parts).groupby(keys, sort=False):
        measured = []
        for recipe, of_recipe in of_set.sort_values("row").groupby("recipe", sort=False):
            if of_recipe[[*ablation.SWITCHES]].to_numpy().tolist() == ablation.PAPER_ROWS:
                numbers = dict(zip(of_recipe["model"], of_recipe["psnr"], strict=True))
                detail = f"recipe {recipe}, {plural(int(of_recipe['n_seeds'].min()), 'seed')}"
                text = numbers_text(numbers.items(), 2)
                measured.append(Measured("retrained", numbers, text, detail, is_decisive=False))
        if measured:
            yield Check(protocol, measured, {}, f" ({dataset}, {degradation})")


def numbers_text(numbers: Iterable[tuple[str, float]], decimals: int, *, is_signed: bool = False) -> str:
    """Return numbers with their names, such as ``t=0 -1.83, t=1 -0.98``."""
    return ", ".join(f"{name} {Number(value, decimals, is_signed=is_signed)}" for name, value in numbers)


KINDS: dict[str, Callable[[Claim, Evidence], Iterator[Check]]] = {
    **{"value": value, "margin": margin, "speed-up": speed_up},
    **{"order": order, "cold start": cold_start, "ablation": ingredients},
}
