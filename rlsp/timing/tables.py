"""The tables of run times: one row for each raw sample, and one for each case."""

import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch

from rlsp.columns import RUNTIME, RUNTIME_CASES
from rlsp.config.specs.models import Model, parse_model
from rlsp.config.specs.study import Runtime
from rlsp.devices import claim_device, describe_device
from rlsp.files import spec_hash, write_rows
from rlsp.models import build_model
from rlsp.models.complexity import count_macs, count_parameters
from rlsp.timing.cases import Case, list_cases
from rlsp.timing.hardware import DeviceMonitor, busy_reason, measure_bandwidth, measure_matrix_rate
from rlsp.timing.turns import CUT_OFF, OK, Measured, measure_cases, memory_probe

MOST_OF_FLOOR = 10  # times the floor: where the slowest forms of the smallest models are on an idle machine
MOST_SPREAD = 0.25  # of the median, between the first and the third quartile of samples


def time_models(
    specs: Mapping[str, Mapping[str, Any] | Model],
    table_path: Path,
    cases_path: Path,
    *,
    study: str,
    timing: Mapping[str, Any] | Runtime,
    device: str,
) -> None:
    """Time all models of a study alone on this machine and write one row for each raw sample, and for each case.

    Both tables are written now and then on the way; the status of what is not measured to the end says so.

    Parameters
    ----------
    specs : mapping
        Specs of the models by name, or their plain forms.
    table_path : Path
        CSV file to write; columns in :data:`rlsp.columns.RUNTIME`, times in milliseconds per output frame.
    cases_path : Path
        CSV file to write; columns in :data:`rlsp.columns.RUNTIME_CASES`: how each case went, and what the device
        could do.
    study : str
        Name of the study.
    timing : Runtime or mapping
        What is timed, and how, or its plain form.
    device : str
        "auto", "cpu" or "cuda".
    """
    timing, models = Runtime.parse(timing), {name: parse_model(spec) for name, spec in specs.items()}
    with ExitStack() as running:
        where = running.enter_context(claim_device(device))
        monitor = running.enter_context(DeviceMonitor(where))
        torch.set_num_threads(timing.threads)
        busy = warn_if_busy(where)
        cases = list_cases(models, timing, where)
        facts = {key: _count_facts(case) for key, case in {(c.model, c.lr_size): c for c in cases}.items()}
        precisions = {case.execution.precision for case in cases}
        ceilings = measure_ceilings(precisions, where)
        probe = running.enter_context(memory_probe(where))
        described = describe_device(where)

        def write(found: dict[Case, Measured]) -> None:
            samples, outcomes = [], []
            for case, measured in found.items():
                row = {
                    "study": study, "model": case.model, "spec_hash": spec_hash(case.spec.dump()), "device": described,
                    "threads": timing.threads, "precision": case.execution.precision,
                    "mode": case.execution.mode, "lr_height": case.lr_size[0], "lr_width": case.lr_size[1],
                    "boundary": case.boundary, "batch": case.batch, "peak_memory_mb": measured.peak_memory_mb,
                }  # fmt: skip
                counted = facts[case.model, case.lr_size]
                outcomes.append(row | _outcome(case, measured, ceilings, counted["gmac_per_frame"], busy))
                samples += [
                    row | counted | {"repeat": n, "runtime_ms": ms} for n, ms in enumerate(measured.samples)
                ]
            write_rows(table_path, RUNTIME.names, samples)
            write_rows(cases_path, RUNTIME_CASES.names, outcomes)

        found = measure_cases(cases, timing, where, monitor, probe=probe, flush=write)
        with suppress(RuntimeError):  # of a GPU that was lost on the way
            again = measure_ceilings(precisions, where)  # a slow moment at either end lowers no ceiling
            ceilings = {name: max(ceiling, again[name]) for name, ceiling in ceilings.items()}
    write(found)


def warn_if_busy(device: str) -> str:
    """Warn when the device is in use; returns the sentence, or nothing."""
    reason = busy_reason(device) or ""
    if reason:
        print(f"warning: {reason}; the times will be too long", file=sys.stderr, flush=True)
    return reason


def measure_ceilings(precisions: Iterable[str], device: str) -> dict[str, float]:
    """Measure what the device can do: FLOP/s by precision, and bytes/s as "bandwidth"."""
    rates = {precision: measure_matrix_rate(device, precision) for precision in sorted(precisions)}
    return rates | {"bandwidth": measure_bandwidth(device)}


def _count_facts(case: Case) -> dict[str, float | None]:
    """Count parameters and operations of a frame; those of a model of one's own cannot always be counted."""
    try:
        gmac = count_macs(case.spec, case.lr_size) / 1e9
    except Exception as error:  # of code that is not ours, when all is timed: no reason to lose it
        print(f"{case.model}: operations not counted ({type(error).__name__}: {error})", file=sys.stderr)
        gmac = None
    return {"parameters": count_parameters(build_model(case.spec)), "gmac_per_frame": gmac}


def is_disturbed(samples: Sequence[float], floors: Iterable[float | None], busy: str) -> bool:
    """Whether times are those of a machine that did other work besides, however alike they are.

    Parameters
    ----------
    samples : sequence of float
        Milliseconds.
    floors : iterable of float or None
        Least times by operations and by bytes, milliseconds.
    busy : str
        What else the machine did before the timing, empty where nothing.
    """
    if len(samples) < 2:
        return False
    first, median, third = statistics.quantiles(samples, n=4)
    known = [floor for floor in floors if floor is not None]
    is_slow = bool(busy and known) and median > MOST_OF_FLOOR * max(known)
    return is_slow or third - first > MOST_SPREAD * median


def _outcome(
    case: Case, measured: Measured, ceilings: dict[str, float], gmac: float | None, busy: str
) -> dict[str, Any]:
    """How a case went, beside the least time that its operations and its bytes take on this device."""
    rate, bandwidth = ceilings[case.execution.precision], ceilings["bandwidth"]
    fewest = measured.fewest_bytes
    is_throttled = any(reading.throttled for reading in measured.readings)
    noted = [busy, "the clocks were held down (power or heat)" if is_throttled else ""]
    clocks, temperatures = (
        [value for reading in measured.readings if (value := getattr(reading, name)) is not None]
        for name in ("clock_mhz", "temperature_c")
    )
    floors = {
        "floor_compute_ms": None if gmac is None else 2 * gmac * 1e9 / rate * 1000,
        "floor_memory_ms": None if fewest is None else fewest / bandwidth * 1000,
    }
    return {
        "status": CUT_OFF if measured.status == OK and not measured.is_done else measured.status,
        "warmup_frames": measured.warmup_frames,
        "is_stable": measured.is_stable and not is_disturbed(measured.samples, floors.values(), busy),
        "matrix_tflops": rate / 1e12,
        "bandwidth_gbs": bandwidth / 1e9,
        **floors,
        "latency_ms": measured.latency_ms,
        "energy_j": measured.energy_j,
        "clock_mhz": statistics.median(clocks) if clocks else None,
        "temperature_c": max(temperatures, default=None),
        "busy": "; ".join(filter(None, noted)),
    }
