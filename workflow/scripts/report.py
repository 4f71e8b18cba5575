from pathlib import Path

from rlsp.jobs import job
from rlsp.reporting.report import write_report

with job(snakemake.log):
    write_report(
        Path(snakemake.input.notebook),
        Path(snakemake.output[0]),
        study=snakemake.params.study,
        results=Path(snakemake.output[0]).parent,
    )
