"""What jobs of a study ask for: GPUs, in places, and threads."""

from rlsp.config.study import Study


def places(study: Study) -> int:
    """Count the trainings that share a GPU; resources count places, of which a job that wants a GPU alone takes all."""
    settings = study.spec.training
    if settings.runs_per_gpu != "auto":
        return int(settings.runs_per_gpu)
    if settings.processes > 1:
        return 1
    recipes = [study.spec.recipes[str(run.recipe)] for run in study.runs_of("trained")]
    return max((recipe.runs_that_fill for recipe in recipes), default=1)


def gpus(study: Study, run_id: str | None = None) -> int:
    """Count the GPUs, in places, that a restoring or timing job asks for; interpolation needs none."""
    is_on_cpu = study.spec.device == "cpu" or (run_id and study.runs[run_id].kind == "interpolation")
    return 0 if is_on_cpu else places(study)


def training_gpus(study: Study, run_id: str) -> int:
    """Count the GPUs that a training asks for, in places: one, or whole GPUs where it shares none."""
    settings, recipe = study.spec.training, study.spec.recipes[str(study.runs[run_id].recipe)]
    whole = gpus(study)
    if settings.processes > 1:
        return whole * settings.processes
    fills_one = settings.runs_per_gpu == "auto" and recipe.runs_that_fill == 1
    return whole if fills_one else min(whole, 1)


def training_threads(study: Study, run_id: str) -> int:
    """Count the CPU threads that a training asks for: those of its processes, and of the ones that prefetch."""
    settings, recipe = study.spec.training, study.spec.recipes[str(study.runs[run_id].recipe)]
    return settings.processes * (recipe.threads + settings.workers)
