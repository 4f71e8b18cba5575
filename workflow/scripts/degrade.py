from pathlib import Path

from rlsp.data.degradation import degrade_dataset
from rlsp.jobs import job

with job(snakemake.log):
    degrade_dataset(
        Path(snakemake.input[0]),
        snakemake.params.spec,
        Path(snakemake.output[0]),
        workers=snakemake.threads,
    )
