from pathlib import Path

from rlsp.data.official_lr import compare_lr
from rlsp.jobs import job

with job(snakemake.log):
    compare_lr(
        snakemake.params.name,
        snakemake.params.spec,
        Path(snakemake.input.clips),
        Path(snakemake.params.download),
        Path(snakemake.output.table),
        workers=snakemake.threads,
    )
