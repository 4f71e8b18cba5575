"""Which models a study's timing job times: those that were timed before, when none is new."""

from collections.abc import Mapping
from typing import Any

from rlsp.config.specs.models import architecture_modules, parse_model
from rlsp.config.study import Study
from rlsp.errors import DataError
from rlsp.files import read_json
from rlsp.provenance import code_hash

Specs = Mapping[str, Mapping[str, Any]]


def specs_to_time(study: Study) -> Specs:
    """Return the plain specs of the models that the timing job times: a model taken out of a study re-times nothing.

    All models are timed in one job, in turns, so that a new or changed one times all of them again. When a model goes,
    what was measured of the others stays: the job keeps its params, and the rows of the model are left out when rows
    are collected.
    """
    wanted = {name: spec.dump() for name, spec in study.timed_models().items()}
    try:
        before = read_json(study.runtime_record())
    except DataError:  # nothing was timed yet
        return wanted
    specs = before.get("specs", {})
    is_kept = all(specs.get(name) == spec for name, spec in wanted.items())
    is_kept = is_kept and before.get("timing") == study.spec.runtime.dump()
    return specs if is_kept and before.get("code") == timing_code(specs) else wanted


def timing_code(specs: Specs) -> str:
    """Hash the code that timing models of these specs depends on."""
    models = map(parse_model, specs.values())
    return code_hash("rlsp.timing.tables", *architecture_modules(models))
