from pathlib import Path

from rlsp.data.official_lr import compare_lr
from rlsp.jobs import job

with job(snakemake.log):
    compare_lr(
        snakemake.params.name,
        snakemake.params.spec,
        Path(snakemake.input.clips),
        Path(snakemake.input.archive).with_name("manifest.json"),
        Path(snakemake.output.table),
        workers=snakemake.threads,
    )
