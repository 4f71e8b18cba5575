"""What a study's timing job times: what it timed before, when no model is new."""

from typing import Any

from rlsp.config.specs.models import Model, architecture_modules
from rlsp.config.study import Study
from rlsp.errors import DataError
from rlsp.files import read_json
from rlsp.provenance import code_hash


def timing_params(study: Study) -> dict[str, Any]:
    """Return the params that decide whether models are timed again: a model taken out of a study re-times nothing.

    All models are timed in one job, in turns, so that a new or changed one times all of them again. When a model goes,
    what was measured of the others stays: the job keeps its params, and the rows of the model are left out when rows
    are collected.

    Returns
    -------
    dict
        ``specs``: plain specs of the models by name; ``code``: by name the hash of the code that timing each depends
        on; ``timing`` and ``device``: the study's settings.
    """
    models = study.timed_models()
    wanted = {
        "specs": {name: spec.dump() for name, spec in models.items()},
        "code": {name: timing_code(spec) for name, spec in models.items()},
        "timing": study.spec.runtime.dump(),
        "device": study.spec.device,
    }
    try:
        before = read_json(study.runtime_record())
    except DataError:  # nothing was timed yet
        return wanted
    is_kept = all(before.get(key) == wanted[key] for key in ("timing", "device")) and all(
        isinstance(before.get(key), dict) and before[key].get(name) == value
        for key in ("specs", "code")
        for name, value in wanted[key].items()
    )
    return {key: before[key] for key in wanted} if is_kept else wanted


def timing_code(model: Model) -> str:
    """Hash the code that timing a model depends on."""
    return code_hash("rlsp.timing.tables", *architecture_modules([model]))
