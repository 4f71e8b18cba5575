from pathlib import Path

from rlsp.jobs import job
from rlsp.reporting.tables import collect_tables

with job(snakemake.log):
    collect_tables(
        snakemake.input.scores,
        [snakemake.input.runtime],
        snakemake.input.training,
        Path(snakemake.output[0]).parent,
        case_files=[snakemake.input.cases],
        sweep_files=snakemake.input.sweeps,
    )
