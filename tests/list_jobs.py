"""Print what studies plan, as JSON: the rule and the params of each output, as Snakemake compares them.

Run in a working folder: ``python list_jobs.py SNAKEFILE [STUDY.yaml]``. Hashes of code are left out of the params: they
change with the code.
"""

import json
import sys
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

LEFT_OUT = ("code",)


def list_jobs(snakefile: Path, *studies: Path) -> dict[str, dict]:
    """List every job that a study needs when nothing is there.

    Returns
    -------
    dict
        ``outputs``: the rule of each file, and which of the texts each of its params has; ``params``: these texts.
    """
    jobs = []
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow_api = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(configfiles=studies),
            snakefile=snakefile,
        )
        workflow_api.dag(dag_settings=DAGSettings(forceall=True))
        workflow = workflow_api._workflow  # it has no public way to its jobs
        workflow._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True)
        workflow._build_dag()
        for job in workflow.dag.jobs:
            params = {key: repr(value) for key, value in job.params.items() if key not in LEFT_OUT}
            jobs += [(str(output), job.rule.name, params) for output in job.output]
    texts: dict[str, set[str]] = {}
    for _, rule, params in jobs:
        for key, text in params.items():
            texts.setdefault(f"{rule}.{key}", set()).add(text)
    known = {name: sorted(values) for name, values in sorted(texts.items())}
    outputs = {
        output: " ".join(
            [rule, *(f"{key}={known[f'{rule}.{key}'].index(text)}" for key, text in params.items())]
        )
        for output, rule, params in sorted(jobs, key=lambda job: job[0])
    }
    return {"outputs": outputs, "params": known}


if __name__ == "__main__":
    json.dump(list_jobs(*map(Path, sys.argv[1:])), sys.stdout, indent=0)
    print()
