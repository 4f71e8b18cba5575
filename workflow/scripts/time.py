from pathlib import Path

from rlsp.jobs import job
from rlsp.runtime import time_models

with job(snakemake.log):
    time_models(
        snakemake.params.specs,
        Path(snakemake.output[0]),
        study=snakemake.params.study,
        timing=snakemake.params.timing,
        device=snakemake.params.device,
    )
