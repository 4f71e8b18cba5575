from pathlib import Path

from rlsp.jobs import job
from rlsp.timing.sweep import sweep_model

with job(snakemake.log):
    sweep_model(
        snakemake.params.model,
        snakemake.params.spec,
        Path(snakemake.output[0]),
        study=snakemake.params.study,
        timing=snakemake.params.timing,
        device=snakemake.params.device,
    )
