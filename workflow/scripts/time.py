from pathlib import Path

from rlsp.jobs import job
from rlsp.timing.tables import time_models

with job(snakemake.log):
    time_models(
        snakemake.params.specs,
        Path(snakemake.output.samples),
        Path(snakemake.output.cases),
        study=snakemake.params.study,
        timing=snakemake.params.timing,
        device=snakemake.params.device,
    )
