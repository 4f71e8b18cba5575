"""What jobs of a study ask for: GPUs, places on them, and threads.

The resource ``gpu`` counts whole GPUs, as schedulers hand them out; ``gpu_places`` counts the trainings that fit beside
each other on this machine's, see :func:`shared_places`.
"""

from rlsp.config.study import Study


def shared_places(study: Study) -> int:
    """Count the trainings that share a GPU; a job that wants a GPU alone takes all of its places."""
    settings = study.spec.training
    if settings.runs_per_gpu != "auto":
        return int(settings.runs_per_gpu)
    if settings.processes > 1:
        return 1
    recipes = [study.spec.recipes[str(run.recipe)] for run in study.runs_of("trained")]
    return max((recipe.runs_that_fill for recipe in recipes), default=1)


def gpus(study: Study, run_id: str | None = None) -> int:
    """Count the GPUs that a restoring or timing job asks for; interpolation needs none."""
    is_on_cpu = study.spec.device == "cpu" or (run_id and study.runs[run_id].kind == "interpolation")
    return 0 if is_on_cpu else 1


def gpu_places(study: Study, run_id: str | None = None) -> int:
    """Count the places on GPUs that a restoring or timing job asks for: all of one GPU."""
    return gpus(study, run_id) * shared_places(study)


def training_gpus(study: Study) -> int:
    """Count the GPUs that a training asks for: one for each of its processes."""
    return gpus(study) * study.spec.training.processes


def training_places(study: Study, run_id: str) -> int:
    """Count the places on GPUs that a training asks for: one, or all of its GPUs where it shares none."""
    settings, recipe = study.spec.training, study.spec.recipes[str(study.runs[run_id].recipe)]
    fills_one = settings.runs_per_gpu == "auto" and recipe.runs_that_fill == 1
    if settings.processes > 1 or fills_one:
        return training_gpus(study) * shared_places(study)
    return training_gpus(study)


def training_threads(study: Study, run_id: str) -> int:
    """Count the CPU threads that a training asks for: those of its processes, and of the ones that prefetch."""
    settings, recipe = study.spec.training, study.spec.recipes[str(study.runs[run_id].recipe)]
    return settings.processes * (recipe.threads + settings.workers)
