from pathlib import Path

from rlsp.jobs import job
from rlsp.reporting.tables import write_tables

with job(snakemake.log):
    write_tables(Path(snakemake.output.facts).parent, snakemake.params.study)
