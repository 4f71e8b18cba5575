"""Verdicts: whether a value measured here agrees with a published one, and the row of the ledger that says so."""

from dataclasses import dataclass

from rlsp.reporting.evidence import Measured
from rlsp.reporting.printing import EMPTY
from rlsp.reporting.published import Printed

# Tolerances. To each comes half a unit of the last digit that was printed: 27.46 may be 27.455 or 27.465.
PSNR_ALLOWANCE = 0.01  # dB: taking Y from 8-bit RGB instead of 8-bit Y pictures alone moves up to 0.006
SSIM_ALLOWANCE = 0.001  # the printed values of the same frames of DUF-52L span 0.0009
RETRAINED_ALLOWANCE = 0.1  # dB: 7-128 beats 7-256 by 0.35 dB on one clip in four, so seeds move about 0.1
ABOUT = 0.2  # "about 10x", relative
NOISE = 1e-9  # of binary fractions: 27.475 - 27.46 is not more than 0.015

REPRODUCED = "reproduced"
DIFFERS = "differs by"
NOT_MEASURED = "not measured yet"
UNKNOWN = "published value unknown"
CALIBRATED = "calibration reproduced"
NOT_COMPARABLE = "not comparable (published device not stated)"
TURNED = "order turned"
ON_CPU = "measured on a CPU, not a GPU as in the paper"
CLOSEST = " (closest to the published value)"


@dataclass(frozen=True)
class Rule:
    """How one kind of value is judged and printed."""

    allowance: float
    unit: str
    digits: int
    is_order: bool = False  # the claim is also that the value is above zero


PSNR_RULE = Rule(PSNR_ALLOWANCE, "dB", 2)
SSIM_RULE = Rule(SSIM_ALLOWANCE, "", 4)
MARGIN_RULE = Rule(2 * PSNR_ALLOWANCE, "dB", 2, is_order=True)
COUNT_RULE = Rule(0.0, "", 0)
GMAC_RULE = Rule(0.0, "GMAC", 1)


def judged(measured: list[Measured]) -> list[Measured]:
    """Return the values that a verdict is about: those without a seed, else the retrained ones."""
    return [value for value in measured if value.is_exact] or measured


def largest_difference(measured: list[Measured], printed: Printed) -> float:
    """Return the largest difference, by size, of the judged values from a published one."""
    return max((value.value - printed.value for value in judged(measured)), key=abs)


def decide(
    measured: list[Measured], printed: Printed | None, calibration: Printed | None, rule: Rule, gap: str = ""
) -> str:
    """Return the verdict on one claim.

    All judged values have to agree with the published one within the tolerance: `Rule.allowance` (for a
    retrained model not below `RETRAINED_ALLOWANCE`) plus half a unit of the last printed digit. The
    calibration is for values without a seed only; it is named where it fails, or where nothing is published.
    """
    if not measured:
        return f"{NOT_MEASURED} ({gap})" if gap else NOT_MEASURED
    is_exact = judged(measured)[0].is_exact
    allowance = rule.allowance if is_exact else max(rule.allowance, RETRAINED_ALLOWANCE)
    parts = [UNKNOWN if printed is None else compare_printed(measured, printed, rule, allowance)]
    if calibration is not None and is_exact:
        calibrated = compare_printed(measured, calibration, rule, allowance)
        if calibrated != REPRODUCED:
            parts.append(f"{calibrated} from the calibration")
        elif printed is None:
            parts.append(CALIBRATED)
    if rule.is_order and min(value.value for value in judged(measured)) <= 0:
        parts = [part for part in parts if part != REPRODUCED] + [TURNED]
    return "; ".join(parts)


def compare_printed(measured: list[Measured], printed: Printed, rule: Rule, allowance: float) -> str:
    """Return ``reproduced``, or by how much the values differ from a published one."""
    difference = largest_difference(measured, printed)
    if abs(difference) <= allowance + printed.half_unit + NOISE:
        return REPRODUCED
    return f"{DIFFERS} {difference:+,.{rule.digits}f}{' ' + rule.unit if rule.unit else ''}"


def decide_speedup(measured: list[Measured], printed: Printed, *, is_bound: bool) -> str:
    """Return the verdict on a factor: at least as large where it is a bound, else within `ABOUT`."""
    if not measured:
        return NOT_MEASURED
    if is_bound:
        difference = min(value.value for value in measured) - printed.value
        is_reproduced = difference >= -NOISE
    else:
        difference = largest_difference(measured, printed)
        is_reproduced = abs(difference) <= ABOUT * printed.value + NOISE
    return REPRODUCED if is_reproduced else f"{DIFFERS} {difference:+.1f}x"


def device_verdict(verdict: str, *, is_cpu: bool) -> str:
    """Return the verdict on a speed, which says so where the only device was a CPU."""
    return f"{verdict}; {ON_CPU}" if is_cpu else verdict


def decide_cold_start(
    drops: list[tuple[Measured, dict[int, float]]],
    expected: dict[int, Printed],
    *,
    is_claimed: bool,
    gap: str = "",
) -> str:
    """Return the verdict: PSNR has to rise over the first three frames, and drops to fit the calibration."""
    if not drops:
        return decide([], None, None, MARGIN_RULE, gap)
    kept = judged([value for value, _ in drops])
    chosen = [by_frame for value, by_frame in drops if value in kept]
    parts = [UNKNOWN]
    if is_claimed:
        step = min(of_run[frame + 1] - of_run[frame] for of_run in chosen for frame in (0, 1))
        parts = [REPRODUCED if step > 0 else f"{DIFFERS} {step:+.2f} dB from frame to frame"]
    if not expected or not kept[0].is_exact:
        return "; ".join(parts)
    beyond = [
        of_run[frame] - value.value
        for frame, value in expected.items()
        for of_run in chosen
        if abs(of_run[frame] - value.value) > MARGIN_RULE.allowance + value.half_unit + NOISE
    ]
    if beyond:
        parts.append(f"{DIFFERS} {max(beyond, key=abs):+.2f} dB from the calibration")
    elif not is_claimed:
        parts.append(CALIBRATED)
    return "; ".join(parts)


def ledger_row(
    claim: str,
    measured: list[Measured],
    printed: Printed | None,
    calibration: Printed | None,
    protocol: str,
    verdict: str,
) -> dict[str, str]:
    """Return one row of the ledger, all of it text."""
    sources = [printed.source] if printed else []
    if calibration:
        sources.append(f"calibration {calibration.text} ({calibration.source})")
    cells = {
        column: "; ".join(value.text for value in measured if value.column == column) or EMPTY
        for column in ("released_frames", "released_weights", "retrained")
    }
    text = printed.text if printed else "unknown"
    source = "; ".join(sources) or EMPTY
    row = {"claim": claim, "published": text, "source": source, **cells}
    return row | {"protocol": protocol, "verdict": verdict}


def rows_over_protocols(
    claim: str,
    measured: dict[str, list[Measured]],
    printed: Printed | None,
    calibrations: dict[str, Printed | None],
    rule: Rule,
    gap: str,
) -> list[dict[str, str]]:
    """Return one row per protocol, the one closest to the published value marked."""
    closest = None
    if printed is not None:
        distances = {
            label: abs(largest_difference(values, printed)) for label, values in measured.items() if values
        }
        closest = min(distances, key=distances.__getitem__, default=None)
    rows = []
    for label, values in measured.items():
        verdict = decide(values, printed, calibrations[label], rule, gap)
        protocol = label + (CLOSEST if label == closest else "")
        rows.append(ledger_row(claim, values, printed, calibrations[label], protocol, verdict))
    return rows
