"""What a method's time and memory depend on: one quantity varied, everything else kept."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rlsp.columns import SWEEP
from rlsp.config.checks import check_swept
from rlsp.config.specs.models import Model, parse_model
from rlsp.config.specs.study import Runtime
from rlsp.devices import claim_device, describe_device
from rlsp.files import write_rows
from rlsp.inference.execution import fastest_execution
from rlsp.timing.cases import Case
from rlsp.timing.hardware import DeviceMonitor
from rlsp.timing.tables import warn_if_busy
from rlsp.timing.turns import measure_cases, memory_probe

LR_SIZES = {  # at a ratio of sides of about 16:9, each with twice the pixels of the one before
    "cpu": [(45, 80), (64, 112), (90, 160), (128, 224), (180, 320)],
    "cuda": [(135, 240), (192, 336), (270, 480), (384, 672), (540, 960)],
}
CLIP_LENGTHS = [4, 8, 16, 32, 64]  # frames
FILTERS = [16, 32, 64, 128, 256]
LAYERS = [3, 5, 7, 10, 14]


def list_sweep(model: str, spec: Model, device: str) -> dict[tuple[str, int], Case]:
    """List the cases of the cost curves by quantity and value.

    Parameters
    ----------
    model : str
        Name of the model that the curves go through.
    spec : Model
        Its spec, with ``filters`` and ``layers``.
    device : str
        Torch device; a GPU gets larger frames, which fill it.

    Raises
    ------
    ConfigError
        The model has no such keys.
    """
    check_swept(model, spec)
    sizes = LR_SIZES[torch.device(device).type]
    base = Case(model, spec, fastest_execution(device), sizes[len(sizes) // 2 if device != "cpu" else 0])
    cases = {("lr_pixels", h * w): replace(base, lr_size=(h, w)) for h, w in sizes}
    cases |= {("clip_length", count): replace(base, clip_length=count) for count in CLIP_LENGTHS}
    for key, values in (("filters", FILTERS), ("layers", LAYERS)):
        cases |= {(key, value): replace(base, spec=spec.changed(**{key: value})) for value in values}
    return cases


def sweep_model(
    model: str,
    spec: Mapping[str, Any] | Model,
    table_path: Path,
    *,
    study: str,
    timing: Mapping[str, Any] | Runtime,
    device: str,
) -> None:
    """Time a model with its frame size, clip length, filters and layers varied, alone on this machine.

    Parameters
    ----------
    model : str
        Name of the model.
    spec : Model
        Its spec.
    table_path : Path
        CSV file to write; columns in :data:`rlsp.columns.SWEEP`, one row for each sample: milliseconds per frame or,
        where the clip length varies, per clip. A case that cannot be run has one row with its status and no time.
    study : str
        Name of the study.
    timing : Runtime
        Repeats, warm-up and threads; its sizes are not used.
    device : str
        "auto", "cpu" or "cuda".
    """
    spec, timing = parse_model(spec), Runtime.parse(timing)
    with ExitStack() as running, claim_device(device) as where, DeviceMonitor(where) as monitor:
        warn_if_busy(where)
        cases = list_sweep(model, spec, where)
        rows = []
        probe = running.enter_context(memory_probe(where))
        for quantity in dict.fromkeys(quantity for quantity, _ in cases):
            of_quantity = {value: case for (name, value), case in cases.items() if name == quantity}
            found = measure_cases(list(of_quantity.values()), timing, where, monitor, probe=probe)
            for value, case in of_quantity.items():
                row = {
                    "study": study, "device": describe_device(where), "threads": timing.threads,
                    "precision": case.execution.precision, "mode": case.execution.mode, "model": model,
                    "quantity": quantity, "value": value, "lr_height": case.lr_size[0],
                    "lr_width": case.lr_size[1], "peak_memory_mb": found[case].peak_memory_mb,
                    "status": found[case].status,
                }  # fmt: skip
                samples = enumerate(found[case].samples)
                rows += [{**row, "repeat": n, "runtime_ms": ms} for n, ms in samples] or [row]
    write_rows(table_path, SWEEP.names, rows)
